"""Text of an expression to a tree of operations: names, quoted names, numbers, and the grammar.

The precedence is that of a TTree formula, which is C's with ``^`` for powers. Where TTree formulas deviate from C
(``7 % 4 * 2``, ``1 << 2 + 1``, ``2^3^2``, ``a == b == c``) the text is refused: brackets say what is meant. The tree is
shallow: a chain such as ``a + b + c`` is one node, whatever its length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from hepgan.data.operations import BINARY, CONDITIONAL, FUNCTIONS, MIXED, NOT, PREFIX, Operation
from hepgan.files import near

__all__ = ["Chain", "Index", "Name", "Node", "Number", "SyntaxProblem", "parse", "quoted"]

_WORDS = ("and", "or", "not", "True", "False")
_LONGEST_INTEGER = 30  # digits; a longer one is a real number

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SYMBOL = re.compile(r"&&|\|\||==|!=|<=|>=|<<|>>|\*\*|//|[-+*/%^!~&|<>?:()\[\],]")
_QUOTED = re.compile(r"`((?:[^`]|``)+)`")

_LEVELS = [{name: operation for operation in level for name in operation.names} for level in BINARY]
_OR, _AND, _BIT_OR, _BIT_AND, _COMPARISON, _SHIFT, _SUM, _PRODUCT, _POWER = range(len(_LEVELS))
_LEVEL_OF = {symbol: level for level, table in enumerate(_LEVELS[:_POWER]) for symbol in table}
_SIGNS = {operation.names[0]: operation for operation in PREFIX}
_SYMBOLS_ELSEWHERE = {"=": "==", "<>": "!=", "≤": "<=", "≥": ">=", "≠": "!=", "−": "-", "×": "*", "·": "*"}


class SyntaxProblem(Exception):
    """A text that is no expression; the message is the reason."""


@dataclass(frozen=True)
class Node:
    """A part of an expression.

    Args:
        level: Precedence of the outermost operator outside brackets, -1 if there is none.
    """

    level: int = -1


@dataclass(frozen=True)
class Name(Node):
    """A branch."""

    name: str = ""


@dataclass(frozen=True)
class Number(Node):
    """A constant."""

    value: int | float | bool = 0


@dataclass(frozen=True)
class Index(Node):
    """One number, or one list of numbers, of each event: ``x[0]``."""

    of: Node = Node()
    index: tuple[int, ...] = ()


@dataclass(frozen=True)
class Chain(Node):
    """Operations from left to right: the first on the first operands, each other on its result and the next operand."""

    operands: tuple[Node, ...] = ()
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True)
class _Token:
    """A word of the text: kind "name", "quoted", "number", "symbol" or "end"."""

    kind: str
    text: str
    position: int


def _name_end(text: str, start: int) -> int:
    """End of the plain name that begins at a position: letters of any language, digits, _ and $; parts by . or ::."""
    end = start
    while end < len(text):
        character = text[end]
        if (
            character in "_$"
            or character.isalnum()
            or (end > start and unicodedata.category(character)[0] == "M")
        ):
            end += 1
            continue
        joint = next((joint for joint in ("::", ".") if text.startswith(joint, end)), "")
        after = text[end + len(joint) : end + len(joint) + 1]
        if not (joint and end > start and after and (after == "_" or after.isalpha())):
            break
        end += len(joint)
    return end


def quoted(name: str) -> str:
    """Write the name of a branch in an expression: in backticks, unless it is plain.

    A plain name has letters, digits and ``_`` and begins with no digit; parts may be joined by ``.`` or ``::``.
    """
    plain = name and _begins_name(name[0]) and _name_end(name, 0) == len(name) and name not in _WORDS
    return name if plain else "`" + name.replace("`", "``") + "`"


def _begins_name(character: str) -> bool:
    return character != "" and (character in "_$" or character.isalpha())


def _path_end(text: str, start: int, end: int, branches: Collection[str]) -> int:
    """End of the path of a column (``trk/P``) that begins with the name from `start` to `end`; 0 if there is none.

    It is a path if there is such a column, and a quotient if each part is a column of its own.
    """
    parts, found = [text[start:end]], 0
    while text[end : end + 1] == "/" and _begins_name(text[end + 1 : end + 2]):
        begin = end + 1
        end = _name_end(text, begin)
        parts.append(text[begin:end])
        if text[start:end] in branches and any(part not in branches for part in parts):
            found = end
    return found


def _tokens(text: str, branches: Collection[str]) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        character = text[position]
        if character.isspace():
            position += 1
        elif character == "`":
            match = _QUOTED.match(text, position)
            if match is None:
                raise SyntaxProblem(f"the quoted name at character {position + 1} has no end")
            yield _Token("quoted", match[1].replace("``", "`"), position)
            position = match.end()
        elif match := _NUMBER.match(text, position):
            position = match.end()
            if position < len(text) and (_begins_name(text[position]) or text[position] == "."):
                got = text[match.start() : max(_name_end(text, position), position + 1)]
                raise SyntaxProblem(f"{got!r} is neither a number nor a name")
            yield _Token("number", match[0], match.start())
        elif _begins_name(character):
            end = _name_end(text, position)
            path_end = _path_end(text, position, end, branches)
            yield _Token("quoted" if path_end else "name", text[position : path_end or end], position)
            position = path_end or end
        elif match := _SYMBOL.match(text, position):
            yield _Token("symbol", match[0], position)
            position = match.end()
        else:
            instead = _SYMBOLS_ELSEWHERE.get(character)
            raise SyntaxProblem(f"{character!r} is not allowed" + (f", write {instead}" if instead else ""))
    yield _Token("end", "its end", len(text))


class _Parser:
    """Recursive descent, with one loop for each level of binary operators."""

    def __init__(self, text: str, branches: Collection[str]) -> None:
        self.tokens = list(_tokens(text, branches))
        self.at = 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def take(self, *texts: str) -> str:
        """Consume the next token if it is one of these symbols or words, and return it; else an empty text."""
        token = self.next
        if token.kind in ("symbol", "name") and token.text in texts:
            self.at += 1
            return token.text
        return ""

    def need(self, text: str) -> None:
        if not self.take(text):
            raise SyntaxProblem(f"expected {text!r}, {self.got()}")

    def got(self) -> str:
        token = self.next
        return (
            "got its end" if token.kind == "end" else f"got {token.text!r} at character {token.position + 1}"
        )

    def whole(self) -> Node:
        node = self.expression()
        if self.next.kind != "end":
            raise SyntaxProblem(f"expected an operator or its end, {self.got()}")
        return node

    def expression(self) -> Node:
        condition = self.binary(_OR)
        if not self.take("?"):
            return condition
        first = self.expression()
        self.need(":")
        return Chain(_OR, (condition, first, self.expression()), (CONDITIONAL,))

    def binary(self, loosest: int) -> Node:
        """Operators of a level, and all that are tighter."""
        if loosest <= _BIT_OR and self.take("not"):
            node: Node = Chain(_BIT_OR, (self.binary(_BIT_OR),), (NOT,))
        else:
            node = self.signed()
        while (level := self.level()) >= loosest:
            operands, symbols = [node], []
            while self.level() == level:
                symbols.append(self.take(self.next.text))
                operands.append(self.binary(level + 1))
            node = _chain(level, symbols, operands)
        return node

    def level(self) -> int:
        """Precedence of the next token, if it is an operator with two operands, but no power."""
        return _LEVEL_OF.get(self.next.text, -1) if self.next.kind in ("symbol", "name") else -1

    def signed(self, *, power: bool = True) -> Node:
        """Signs, and the power that binds tighter; after ``!`` and in an exponent a power needs brackets."""
        symbol = self.take(*_SIGNS)
        if not symbol:
            base = self.indexed()
            if not power or not (symbol := self.take(*_LEVELS[_POWER])):
                return base
            node: Node = Chain(_POWER, (base, self.signed(power=False)), (_LEVELS[_POWER][symbol],))
        else:
            operand = self.signed(power=power and symbol in ("-", "+"))
            if isinstance(operand, Number) and symbol in ("-", "+"):
                return Number(_POWER, -operand.value if symbol == "-" else +operand.value)
            node = Chain(_POWER, (operand,), (_SIGNS[symbol],))
        if symbol not in ("-", "+") and self.next.text in _LEVELS[_POWER] and self.next.kind == "symbol":
            raise SyntaxProblem(
                f"{self.next.text} after a power or ! is ambiguous (2^3^2 is 64 in a TTree formula, 512 elsewhere): "
                "write brackets"
            )
        return node

    def indexed(self) -> Node:
        node = self.atom()
        index: tuple[int, ...] = ()
        while self.take("["):
            index += self.index()
        return Index(-1, node, index) if index else node

    def index(self) -> tuple[int, ...]:
        """Numbers up to the closing bracket; in uproot's notation the first axis, ``:``, is the event."""
        if self.take(":"):
            self.need(",")
        index: list[int] = []
        while not index or self.take(","):
            token = self.next
            if token.kind != "number" or not re.fullmatch("[0-9]{1,18}", token.text):
                raise SyntaxProblem(f"expected a whole number as index, as in x[0], {self.got()}")
            self.at += 1
            index.append(int(token.text))
        self.need("]")
        return tuple(index)

    def atom(self) -> Node:
        token = self.next
        self.at += 1
        if token.kind == "number":
            return Number(-1, _number(token.text))
        if token.kind == "quoted":
            return Name(-1, token.text)
        if token.kind == "name" and token.text in ("True", "False"):
            return Number(-1, token.text == "True")
        if token.kind == "name" and token.text not in _WORDS:
            return self.call(token.text) if self.take("(") else Name(-1, token.text)
        if token.text == "(" and token.kind == "symbol":
            node = self.expression()
            self.need(")")
            return replace(node, level=-1)
        self.at -= 1
        raise SyntaxProblem(f"expected a branch, a number or a function, {self.got()}")

    def call(self, name: str) -> Node:
        arguments: list[Node] = []
        while not self.take(")"):
            if arguments:
                self.need(",")
            arguments.append(self.expression())
        if name not in FUNCTIONS:
            raise SyntaxProblem(f"there is no function {name!r}; {near(name, FUNCTIONS)}")
        if len(arguments) not in FUNCTIONS[name]:
            expected = " or ".join(operation.notation[0] for operation in FUNCTIONS[name].values())
            raise SyntaxProblem(f"expected {expected}, got {name} with {len(arguments)} arguments")
        return Chain(-1, tuple(arguments), (FUNCTIONS[name][len(arguments)],))


def _number(text: str) -> int | float:
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_INTEGER else float(text)


def _chain(level: int, symbols: list[str], operands: list[Node]) -> Node:
    """Operators of the same level; refused if a TTree formula reads them in another way than C or Python."""
    table, reason = _LEVELS[level], ""
    if level == _COMPARISON and len(symbols) > 1:
        if any(set(symbols) <= direction for direction in ({"<", "<="}, {">", ">="})):
            pairs = zip(operands, symbols, operands[1:], strict=False)
            operands = [Chain(level, (x, y), (table[symbol],)) for x, symbol, y in pairs]
            level, symbols, table = _AND, ["and"] * (len(operands) - 1), _LEVELS[_AND]
        else:
            reason = f"comparisons in a row ({' '.join(symbols)}): write brackets, or && between them"
    elif level == _PRODUCT and "%" in symbols[:-1]:
        following = symbols[symbols.index("%") + 1]
        reason = (
            f"{following} after % is ambiguous (7 % 4 * 2 is 7 in a TTree formula, 6 in C): write brackets"
        )
    elif level == _PRODUCT and (fraction := _fraction(symbols, operands)):
        reason = f"% takes the whole parts, as in a TTree formula: write fmod(x, {fraction:g})"
    elif level == _SHIFT and (len(symbols) > 1 or any(operand.level >= _SUM for operand in operands)):
        reason = (
            "<< and >> beside other arithmetic are ambiguous (1 << 2 + 1 is 5 in a TTree formula, 8 in C): write "
            "brackets"
        )
    elif level in (_BIT_OR, _BIT_AND) and any(operand.level == _COMPARISON for operand in operands):
        table = MIXED
    if reason:
        raise SyntaxProblem(reason)
    return Chain(level, tuple(operands), tuple(table[symbol] for symbol in symbols))


def _fraction(symbols: Sequence[str], operands: Sequence[Node]) -> float:
    """A constant after % that is not whole, if there is one, else 0."""
    for symbol, operand in zip(symbols, operands[1:], strict=True):
        if symbol == "%" and isinstance(operand, Number) and operand.value % 1:
            return operand.value
    return 0


def _names(node: Node) -> Iterator[str]:
    if isinstance(node, Name):
        yield node.name
    children = node.operands if isinstance(node, Chain) else [node.of] if isinstance(node, Index) else []
    for child in children:
        yield from _names(child)


def parse(text: str, branches: Collection[str] = ()) -> tuple[Node, set[str]]:
    """Parse an expression.

    Args:
        text: The expression.
        branches: Names of the branches that exist, to tell paths (``trk/P``) from quotients.

    Returns:
        The tree, and the names of branches in it.

    Raises:
        SyntaxProblem: If the text is none; with the reason.
    """
    try:
        tree = _Parser(text, branches).whole()
        return tree, set(_names(tree))
    except RecursionError:
        raise SyntaxProblem("too many brackets or signs within each other") from None
