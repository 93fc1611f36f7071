"""Write docs/expressions.md, the language of cuts, weights and derived branches, from hepgan/data/operations.py.

``python scripts/document_expressions.py`` prints the page, ``--write`` replaces docs/expressions.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from hepgan.data.operations import BINARY, CONDITIONAL, FUNCTIONS, NOT, PREFIX, Operation

PAGE = Path(__file__).parents[1] / "docs" / "expressions.md"

HEADER = """# Expressions

Cuts, weights, and the `branch` of a condition or target may be expressions of branches; `evaluation.cuts` are
expressions of targets:

```toml
[data]
files = ["tracks.root"]
cut = "hasRich && abs(track_ETA - 3.5) < 1.5"
weight = "sWeight * (nPV - 1 < 3)"

[[data.conditions]]
name = "P"
unit = "MeV/c"
branch = "sqrt(px^2 + py^2 + `p[z]`^2)"

[[data.targets]]
name = "DLLk"
```

They mean what they mean in a TTree formula (`TTree::Draw`, `TTree::GetEntries`). All arithmetic is that of real
numbers (float64), whatever the type of the branch: `nPV - 1 < 0` holds for an unsigned `nPV` that is 0, and 8-bit
charges may be multiplied by 200. Integers are compared with each other exactly, also those of 64 bits, which a TTree
formula rounds to 53. A branch alone keeps its type. A cut that is a computed number passes where it is not zero.

**Names.** A name of letters (of any language), digits and `_`, also in parts as in `trk.P` or `Aux::pt`, stands as it
is; any other in backticks: `` `E[MeV]` > 1 ``, `` `K+_DLL` ``. A backtick in a name is doubled. Words of the language
(`and`, `or`, `not`, `True`, `False`) as names need them too; names of functions do not. Where the whole text is the
name of a branch, it is that branch.

**Numbers of an event.** `x[0]` is the first number of an array or list, `x[0, 1]` or `x[0][1]` one of a matrix, and
`x[:, 0]` the same as `x[0]`, as uproot writes it. Where a list is shorter, the number is missing, and so is all that is
computed from it: the event does not pass a cut, as in ROOT, and other results are NaN; `len(x) > 0 ? x[0] : -1` puts
another number. `sum`, `len`, `min`, `max`, `any` and `all` of one argument reduce all numbers of an event to one.
Numbers of an event meet lists as in `sum(hits * scale)`: each number of the list is multiplied.

**Numbers that do not exist.** For `x / 0` and `log(-1)` a TTree formula puts 0, for `sqrt(-4)` 2, without a word. In
comparisons and tests (`&&`, `!`, `c ? a : b`) this is done here as well, so that a cut selects the same events.
Everywhere else the number is infinite or NaN, and reading stops with the entry. `isfinite` sees that a number does not
exist; the functions of `TMath` give NaN in comparisons too, as in ROOT.

**What differs from a TTree formula.** `1 < x < 3` is `1 < x && x < 3`; ROOT compares the truth value with 3. `and`,
`or`, `not`, `//`, `~` and the reductions are words of this language. `%` and bits are exact up to 64 bits; ROOT's are
up to 31 and 53. `(x > 0 ? 1 : 2) + 3` adds 3 always; ROOT 6.40 only where the condition is false. Where ROOT reads a
text in another way than C, it is refused and needs brackets: other comparisons in a row (`a == b == c`), `2^3^2`,
`!x^2`, `7 % 4 * 2`, `1 << 2 + 1`. `flags & 4 > 0` is `flags & (4 > 0)`, in C as in ROOT, and is refused as well:
write `(flags & 4) > 0`, or `&&` between conditions. So is `phi % 6.28`, which is `phi % 6` in ROOT: write
`fmod(phi, 6.28)`.

Written by `scripts/document_expressions.py` from `hepgan/data/operations.py`: change it there, then run `make docs`.
"""

HEAD = "| notation | meaning |\n|---|---|\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _rows(operations: Iterable[Operation]) -> str:
    """One line an operation."""
    return "".join(
        f"| {', '.join(f'`{_cell(text)}`' for text in operation.notation)} | {_cell(operation.words)} |\n"
        for operation in operations
    )


def page() -> str:
    """The whole page as Markdown."""
    looser, tighter = BINARY[:2], BINARY[2:-1]
    order = [(CONDITIONAL,), *looser, (NOT,), *tighter, PREFIX[:2], BINARY[-1], PREFIX[2:]]
    parts = [
        f"{HEADER}\n## Operators\n\nThose that bind most tightly first; those between two lines bind alike, from left "
        f"to right.\n\n{HEAD}" + "| | |\n".join(_rows(level) for level in reversed(order))
    ]
    functions = {
        id(operation): operation for by_count in FUNCTIONS.values() for operation in by_count.values()
    }
    parts.append(f"## Functions\n\n{HEAD}{_rows(functions.values())}")
    return "\n".join(parts)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())
