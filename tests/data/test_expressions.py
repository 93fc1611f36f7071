import json
import math
import subprocess
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from random_formulas import Maker

from hepgan.data.expressions import Expression, quoted
from hepgan.data.operations import BINARY, FUNCTIONS, PREFIX
from hepgan.errors import ConfigError

ARRAYS = {
    "a": ak.Array(np.array([1.0, -2.0, 3.0])),
    "b": ak.Array(np.array([0, 1, 2])),
    "flag": ak.Array(np.array([True, False, True])),
    "m": ak.Array(np.arange(12.0).reshape(3, 2, 2)),
    "hits": ak.Array([[1.0, 2.0], [], [5.0]]),
    "calo.e": ak.Array(np.array([7.0, 8.0, 9.0])),
    "Aux::pt": ak.Array(np.array([1.0, 2.0, 3.0])),
    "track-pt": ak.Array(np.array([4.0, 5.0, 6.0])),
    "lambda": ak.Array(np.array([1, 0, 1])),
    "E[MeV]": ak.Array(np.array([1.0, 2.0, 3.0])),
    "and": ak.Array(np.array([3, 2, 1])),
    "a`b": ak.Array(np.array([9, 8, 7])),
    "sum": ak.Array(np.array([1, 1, 2])),
    "η_µ": ak.Array(np.array([0.5, 1.5, 2.5])),
}
RECORDED = json.loads((Path(__file__).parent / "ttree_formulas.json").read_text(encoding="utf-8"))
RECORDED_ARRAYS = {
    name: ak.Array(np.array(branch["values"], branch["type"]))
    for name, branch in RECORDED["branches"].items()
}
BITS = 64
U8 = np.array([0, 2**64 - 1, 2**53 + 1, 2**53, 2**63], np.uint64)
I8 = np.array([-1, 2**63 - 1, 2**53, 2**53 + 1, -(2**63)], np.int64)
SIGNED = {"U": ak.Array(U8), "L": ak.Array(I8)}


def values(text, arrays=ARRAYS, **settings):
    return ak.to_numpy(Expression(text, branches=arrays, **settings)(arrays))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", [1, -2, 3]),
        ("a + 2 * b**2 - 1", [0, -1, 10]),
        ("a / 2 // 1", [0, -1, 1]),
        ("-abs(a)", [-1, -2, -3]),
        ("a > 0", [True, False, True]),
        ("a > 0 and b < 2", [True, False, False]),
        ("a > 0 && b < 2 || b == 1", [True, True, False]),
        ("a > 0 & b < 2 | b == 1", [True, True, False]),
        ("!flag", [False, True, False]),
        ("!b > 0", [True, False, False]),  # as in C: (!b) > 0
        ("not b > 0", [True, False, False]),
        ("!b == 2", [False, False, False]),
        ("not b == 2", [True, True, False]),
        ("not (a != 1)", [True, False, False]),
        ("~(a > 0) | (b >= 2) & (a <= 3)", [False, True, True]),
        ("0 < b <= 2", [False, True, True]),
        ("2 >= b > 0", [False, True, True]),
        ("(b & 1) == 1", [False, True, False]),
        ("flag & b > 0", [False, False, True]),
        ("m[0, 1]", [1, 5, 9]),
        ("m[1][0]", [2, 6, 10]),
        ("m[:, 1, 1]", [3, 7, 11]),
        ("(m * a)[0, 1]", [1, -10, 27]),  # the numbers of an event multiply those of its lists
        ("sum(m)", [6, 22, 38]),
        ("sum(hits)", [3, 0, 5]),
        ("Sum$(hits > 1)", [1, 0, 1]),
        ("sum(where(hits > 1, hits * a, 0))", [2, 0, 15]),
        ("max(m) > 5", [False, True, True]),
        ("max(hits)", [2, -np.inf, 5]),
        ("any(hits > 1)", [True, False, True]),
        ("all(hits > 1)", [False, True, True]),
        ("min(a, b)", [0, -2, 2]),
        ("TMath::Max(a, b) + 0", [1, 1, 3]),
        ("where(a > 0, b, -1)", [0, -1, 2]),
        ("a > 0 ? b : flag ? 7 : 8", [0, 8, 2]),
        ("1 ? a : b", [1, -2, 3]),
        ("sqrt(calo.e + 2)", [3, np.sqrt(10), np.sqrt(11)]),
        ("Aux::pt > 1.5 ? 1 : 2", [2, 1, 1]),
        ("track-pt", [4, 5, 6]),
        ("`track-pt` - 4", [0, 1, 2]),
        ("lambda > 0", [True, False, True]),
        ("`E[MeV]` > 1", [False, True, True]),
        ("`and` > 1 and lambda", [True, False, False]),
        ("`a``b` > 7", [True, True, False]),
        ("sum > 1 or sum(hits) > 4", [False, False, True]),
        ("η_µ > 1", [False, True, True]),
        ("True", [True, True, True]),
        ("18446744073709551616", [2.0**64] * 3),
        ("sum(hits) > 1 || 18446744073709551616", [True, True, True]),
        ("log10(a) > 0", [False, False, True]),  # log of a negative number: no warning, never true
        ("TMath::Pi() > a", [True, True, True]),
        ("0x10 + .5e1", [21, 21, 21]),
    ],
)
def test_values(text, expected) -> None:
    np.testing.assert_allclose(values(text), expected)


def test_a_branch_alone_keeps_its_type() -> None:
    assert values("b").dtype == ARRAYS["b"].layout.dtype
    assert values("U", SIGNED).tolist() == U8.tolist()


def test_names_are_the_branches_it_needs() -> None:
    assert Expression("sqrt(a*a + calo.e) > m[0] and not flag").names == {"a", "calo.e", "m", "flag"}
    assert Expression("`track-pt` > `a``b` ? in : Aux::is").names == {"track-pt", "a`b", "in", "Aux::is"}
    assert Expression("track-pt", branches=["track-pt"]).names == {"track-pt"}
    assert Expression("track-pt").names == {"track", "pt"}


@pytest.mark.parametrize(
    "name", [*ARRAYS, "p K", "2nd", "not", "a.", ".a", "a..b", "jet.pt()", "``", " ", "x²", "e\u0301", "😀"]
)
def test_quoted_names_are_read_as_they_are(name) -> None:
    assert Expression(f"{quoted(name)} > 1").names == {name}


def test_plain_names_need_no_quotes() -> None:
    for name in ("a", "calo.e", "Aux::pt", "lambda", "sum", "η_µ", "True_x"):
        assert quoted(name) == name
    for name in ("and", "True", "track-pt", "E[MeV]", "", "1a"):
        assert quoted(name) != name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("__import__('os')", r"\"'\" is not allowed"),
        ("a.sum()", r"there is no function 'a\.sum'"),
        ("open(a)", "there is no function 'open'"),
        ("[a]", r"expected a branch, a number or a function, got '\[' at character 1"),
        ("a if b else 1", "expected an operator or its end, got 'if' at character 3"),
        ("lambda: 1", "expected an operator or its end, got ':'"),
        ("a in b", "got 'in'"),
        ("a[b]", r"expected a whole number as index, as in x\[0\], got 'b'"),
        ("a[-1]", "expected a whole number as index"),
        ("a @ b", "'@' is not allowed"),
        ("a = 1", "'=' is not allowed, write =="),
        ("a ≥ 1", "'≥' is not allowed, write >="),
        ("a >", "got its end"),
        ("a > 1)", r"got '\)' at character 6"),
        ("(a", r"expected '\)', got its end"),
        ("", "got its end"),
        ("1a", "'1a' is neither a number nor a name"),
        ("`a", "quoted name at character 1 has no end"),
        ("a ? b", "expected ':', got its end"),
        ("sqrt(a, b)", r"expected sqrt\(x\), got sqrt with 2 arguments"),
        ("min(a, b, m)", r"expected min\(x, y\) or min\(x\), got min with 3"),
        ("a + not b", "got 'not'"),
        ("2^3^2", "is ambiguous .*write brackets"),
        ("2**-a**2", "is ambiguous .*write brackets"),
        ("!a^2", "is ambiguous .*write brackets"),
        ("a % b * 2", "is ambiguous .*write brackets"),
        ("a % 6.28", r"% takes the whole parts, as in a TTree formula: write fmod\(x, 6.28\)"),
        ("b << 2 + 1", "are ambiguous .*write brackets"),
        ("b >> 1 >> 1", "are ambiguous .*write brackets"),
        ("a == b == 1", "comparisons in a row .*: write brackets, or &&"),
        ("a > 0 == 1", "comparisons in a row"),
        ("0 < a > 1", "comparisons in a row"),
    ],
)
def test_what_is_no_expression(text, reason) -> None:
    with pytest.raises(
        ConfigError, match=rf"data\.cut .*: expected an expression of branches such as .*{reason}"
    ):
        Expression(text, label="data.cut")


@pytest.mark.parametrize("text", ["E[MeV] > 1", "2 * E[MeV]", "E[MeV]e"])
def test_names_that_need_quotes_are_proposed(text) -> None:
    with pytest.raises(ConfigError, match=r"a branch with such a name stands in backticks: `E\[MeV\]`"):
        Expression(text, branches=ARRAYS)


def test_unknown_names_that_need_quotes_are_proposed() -> None:
    known = ["p-K", "p", "E[MeV]"]
    assert Expression("p-K > 0", branches=known).advice(known).endswith("in backticks: `p-K`")
    assert "backticks" not in Expression("P > 0", branches=known).advice(known)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("b & 1 == 1", r"between a comparison and a number: write && .* brackets"),
        ("b > 1 | b", r"between a comparison and a number"),
        ("m[7]", "'m' has indices up to 1 along this axis, got 7"),
        ("m[0][0][0]", "too many indices: 'm' has 2 axes in each event, got 3"),
        ("a[0]", "too many indices: 'a' has no axes"),
        ("text == 1", "'text': expected numbers, got string"),
        ("-record", "'record': expected numbers, got {x: int64"),
        ("hits + more", "cannot broadcast"),
        ("1[0] + a", "a constant has no index"),
        ("b & 99999999999999999999999", "too large|out of bounds"),
    ],
)
def test_what_does_not_fit_the_branches(text, reason) -> None:
    arrays = ARRAYS | {
        "text": ak.Array(["x", "y", "z"]),
        "record": ak.Array([{"x": 1}, {"x": 2}, {"x": 3}]),
        "more": ak.Array([[1.0], [], [5.0]]),
    }
    with pytest.raises(
        ConfigError, match=rf"weight .*: cannot be evaluated .*{reason}.*fit the types and shapes"
    ):
        Expression(text, label="weight")(arrays)


@pytest.mark.parametrize("kind", ["?", *"bBhHiIlLqQ", "f", "d"])
def test_arithmetic_is_that_of_real_numbers(kind) -> None:
    """Every type of a branch: nothing wraps, and constants need not fit."""
    numbers = [0, 1, 1, 0] if kind == "?" else [0, 1, 100, 127]
    arrays = {"n": ak.Array(np.array(numbers, kind)), "x": ak.Array(np.array([0.5, 1.5, 2.5, -1.0]))}
    for text, compute in {
        "n - 1 < 0": lambda n, x: n - 1 < 0,
        "-n": lambda n, x: -n,
        "n * n * n": lambda n, x: n**3,
        "n * 200 > 0": lambda n, x: n * 200 > 0,
        "n > -1": lambda n, x: True,
        "n < 70000": lambda n, x: True,
        "n != 1e30": lambda n, x: True,
        "n == 99999999999999999999": lambda n, x: False,
        "n + x": lambda n, x: n + x,
        "n / 2": lambda n, x: n / 2,
        "abs(n - 50)": lambda n, x: abs(n - 50),
        "sum(n)": lambda n, x: n,
        "n ^ 2 + pow(n, 3)": lambda n, x: n**2 + n**3,
        "min(n, 3) - max(n, 300)": lambda n, x: min(n, 3) - max(n, 300),
        "n == 1": lambda n, x: n == 1,
        "1 <= n": lambda n, x: n >= 1,
        "n > x": lambda n, x: n > x,
        "(n << 9) + (n >> 1)": lambda n, x: (int(n) << 9) + (int(n) >> 1),
        "n % 7": lambda n, x: n % 7,
        "!n": lambda n, x: not n,
    }.items():
        expected = [float(compute(n, x)) for n, x in zip(numbers, arrays["x"].tolist(), strict=True)]
        np.testing.assert_array_equal(values(text, arrays).astype(float), expected, err_msg=text)


@pytest.mark.parametrize("symbol", ["<", "<=", ">", ">=", "==", "!="])
@pytest.mark.parametrize(
    "constant", [-(2**63) - 1, -(2**63), -1, 0, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64]
)
def test_comparisons_of_integers_are_exact(symbol, constant) -> None:
    compute = {operation.names[0]: operation.meaning for operation in BINARY[4]}[symbol]
    for name, numbers in (("U", U8.tolist()), ("L", I8.tolist())):
        expected = [bool(compute(x, constant)) for x in numbers]
        assert values(f"{name} {symbol} {constant}", SIGNED).tolist() == expected
        expected = [bool(compute(constant, x)) for x in numbers]
        assert values(f"{constant} {symbol} {name}", SIGNED).tolist() == expected
    pairs = list(zip(U8.tolist(), I8.tolist(), strict=True))
    assert values(f"U {symbol} L", SIGNED).tolist() == [bool(compute(u, i)) for u, i in pairs]
    assert values(f"L {symbol} U", SIGNED).tolist() == [bool(compute(i, u)) for u, i in pairs]


def test_bits_and_remainders_of_64_bits_are_exact() -> None:
    assert values("U & 3", SIGNED).tolist() == [u & 3 for u in U8.tolist()]
    assert values("U >> 60", SIGNED).tolist() == [u >> 60 for u in U8.tolist()]
    assert values("L | 1", SIGNED).tolist() == [(i | 1) % 2**BITS for i in I8.tolist()]
    assert values("U % 10", SIGNED).tolist() == [u % 10 for u in U8.tolist()]
    assert values("L % 10", SIGNED).tolist() == [
        math.fmod(i % 10 - 10 * (i < 0 and i % 10 > 0), 10) for i in I8.tolist()
    ]


def test_undefined_numbers() -> None:
    """Where a TTree formula puts another number, comparisons do so too; values stay visibly wrong."""
    arrays = {"x": ak.Array(np.array([4.0, 0.0, -4.0])), "n": ak.Array(np.array([2, 0, 1], np.uint8))}
    np.testing.assert_array_equal(values("x / n", arrays), [2, np.nan, -4])
    np.testing.assert_array_equal(values("1 / n", arrays), [0.5, np.inf, 1])
    np.testing.assert_array_equal(values("1 / n", arrays, cut=True), [0.5, 0, 1])
    assert values("1 / n > 0.1", arrays).tolist() == [True, False, True]
    assert values("(1 / n > 0.1) * x", arrays).tolist() == [4, 0, -4]
    assert values("1 / n ? 1 : 2", arrays).tolist() == [1, 2, 1]
    np.testing.assert_array_equal(values("sqrt(x)", arrays), [2, 0, np.nan])
    assert values("sqrt(x) > 1", arrays).tolist() == [True, False, True]
    assert values("TMath::Sqrt(x) > 1", arrays).tolist() == [True, False, False]
    assert values("log(x) == 0", arrays).tolist() == [False, True, True]
    assert values("isfinite(log(x)) && n > 0", arrays).tolist() == [True, False, False]


def test_missing_values_stay_missing() -> None:
    arrays = {"x": ak.Array([1.0, None, -3.0])}
    for text, cut, expected in (
        ("x > 0 && x * 2 < 3", True, [True, False, False]),
        ("!(x > 0)", True, [False, False, True]),
        ("x", True, [1.0, None, -3.0]),  # a branch alone is not touched
        ("x > 0 ? x : 7", False, [1, np.nan, 7]),
    ):
        found = Expression(text, cut=cut)(arrays).tolist()
        assert found == pytest.approx(expected, nan_ok=True)


# for cuts: what TTree::Draw of ROOT 6.40 selects, where it reads the text
@pytest.mark.parametrize(
    ("text", "selected", "number"),
    [
        ("v[0] > 0", [1, 0, 1], [1, np.nan, 1]),
        ("!(v[0] > 0)", [0, 0, 0], [0, np.nan, 0]),
        ("v[1] != 1", [1, 0, 0], [1, np.nan, np.nan]),
        ("v[0] + v[1] < 0", [1, 0, 0], [1, np.nan, np.nan]),
        ("Length$(v) == 0 || v[0] > 0", [1, 0, 1], [1, np.nan, 1]),
        ("v[9]", [0, 0, 0], [np.nan] * 3),
        ("Length$(v)", [1, 0, 1], [2, 0, 1]),
        ("Length$(x) == 1", [1, 1, 1], [1, 1, 1]),
        ("Max$(v) > -1", [1, 1, 1], [1, 1, 1]),
        ("Max$(v)", [1, 0, 1], [1, -np.inf, 3]),
        ("len(v) > 0 ? v[0] : -1", [1, 1, 1], [1, -1, 3]),
        ("i[0] == 9007199254740993", [1, 0, 0], [1, np.nan, 0]),
        ("nested[1][0] > 2", [1, 0, 1], [1, np.nan, 1]),
        ("len(nested)", [1, 0, 1], [3, 0, 1]),
    ],
)
def test_numbers_beyond_the_end_of_a_list_are_missing(text, selected, number) -> None:
    arrays = {
        "x": ak.Array([1.0, 2.0, 3.0]),
        "v": ak.Array([[1.0, -2.0], [], [3.0]]),
        "i": ak.Array([[2**53 + 1], [], [3]]),
        "nested": ak.Array([[[1, 2], [3]], [], [[], [5]]]),
    }
    assert values(text, arrays, cut=True).astype(bool).tolist() == [bool(passed) for passed in selected]
    np.testing.assert_array_equal(values(text, arrays).astype(float), number)


@pytest.mark.parametrize("text", RECORDED["formulas"])
def test_same_values_as_recorded_from_root(text) -> None:
    found = values(text, RECORDED_ARRAYS, cut=True).astype(float)
    np.testing.assert_allclose(found, RECORDED["formulas"][text], rtol=1e-12)


def random_rows(n: int):
    rng = np.random.default_rng(5)
    return {
        "x": rng.integers(-20, 20, n) / 4,
        "y": rng.normal(0, 100, n),
        "f": rng.normal(0, 1, n).astype(np.float32),
        "n": rng.integers(-9, 9, n).astype(np.int32),
        "c": rng.integers(-128, 128, n).astype(np.int8),
        "u": rng.integers(0, 2**32, n).astype(np.uint32),
        "us": rng.integers(0, 2**10, n).astype(np.uint16),
        "ub": rng.integers(0, 9, n).astype(np.uint8),
        "o": rng.random(n) < 0.5,
    }


def test_random_expressions_have_the_values_of_another_evaluator() -> None:
    rows = random_rows(8)
    arrays = {name: ak.Array(column) for name, column in rows.items()}
    events = [dict(zip(rows, map(float, row), strict=True)) for row in zip(*rows.values(), strict=True)]
    maker = Maker(1)
    for k in range(250):
        formula = (maker.truth if k % 2 else maker.number)(1 + k % 4)
        found = values(formula.text, arrays, cut=True).astype(float)
        expected = [formula.value(event) for event in events]
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=formula.text)


def test_same_values_as_root(root_python, tmp_path) -> None:
    rows = random_rows(20)
    maker = Maker(2, choices=False)  # in ROOT 6.40, (x > 0 ? 1 : 2) + 3 skips the + 3 where x > 0
    texts = [(maker.truth if k % 2 else maker.number)(1 + k % 3).text for k in range(300)]

    def by_root(branches, formulas):
        with uproot.recreate(tmp_path / "rows.root") as file:
            file.mktree("rows", {name: column.dtype for name, column in branches.items()}).extend(branches)
        job = json.dumps({"file": str(tmp_path / "rows.root"), "tree": "rows", "formulas": formulas})
        script = Path(__file__).parent / "record_formulas.py"
        command = [root_python, "-W", "ignore", str(script)]
        done = subprocess.run(command, input=job, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    arrays = {name: ak.Array(column) for name, column in rows.items()}
    read = by_root(rows, texts)
    assert sum(read[text] is not None for text in texts) > 250  # ROOT does not parse all, such as two signs
    for text in texts:
        if read[text] is not None:
            found = values(text, arrays, cut=True).astype(float)
            np.testing.assert_allclose(found, read[text], rtol=1e-9, err_msg=text)
    branches = {name: ak.to_numpy(array) for name, array in RECORDED_ARRAYS.items()}
    for text, found in by_root(branches, list(RECORDED["formulas"])).items():
        np.testing.assert_allclose(found, RECORDED["formulas"][text], rtol=1e-12, err_msg=text)


def test_junk_gives_a_message() -> None:
    """Random tokens and random characters: an expression, or our error."""
    rng = np.random.default_rng(3)
    symbols = [name for level in BINARY for operation in level for name in operation.names]
    symbols += [operation.names[0] for operation in PREFIX] + [*"()[],?:` .'\\", "::", "not", "\n"]
    tokens = [
        *ARRAYS,
        *symbols,
        *FUNCTIONS,
        *("`track-pt`", "0", "1", "3.5", "1e999", "9" * 5000, "0x", "é", "\0"),
    ]
    evaluated, refused = 0, 0
    for k in range(3000):
        if k % 3:
            text = " ".join(str(tokens[i]) for i in rng.integers(0, len(tokens), rng.integers(1, 9)))
        else:
            text = "".join(map(chr, rng.integers(1, 300, rng.integers(1, 12))))
        try:
            expression = Expression(text, branches=ARRAYS)
            if expression.names <= ARRAYS.keys():
                expression(ARRAYS)
                evaluated += 1
        except ConfigError:
            refused += 1
    assert evaluated > 20
    assert refused > 2000


@pytest.mark.parametrize(
    "text",
    [
        *(
            "(" * 100_000,
            "(" * 9000 + "a" + ")" * 9000,
            "-" * 9000 + "a",
            "!" * 9000 + "a",
            "not " * 9000 + "a",
        ),
        *("a ? b : " * 9000 + "a", "abs(" * 9000 + "a" + ")" * 9000, "(a > " * 9000),
    ],
    ids=range(8),
)
def test_deep_texts_give_a_message(text) -> None:
    with pytest.raises(ConfigError, match="too many brackets or signs within each other") as raised:
        Expression(text)(ARRAYS)
    assert len(str(raised.value)) < 1000


def test_no_depth_ends_in_a_traceback() -> None:
    evaluated = 0
    for depth in range(20, 400, 9):
        try:
            evaluated += len(values("-(" * depth + "a" + ")" * depth))
        except ConfigError:
            break
    assert evaluated > 6


def test_long_texts_are_evaluated() -> None:
    assert values("a" + " + a" * 1000).tolist() == [1001, -2002, 3003]
    assert values(" || ".join(f"b == {k}" for k in range(100))).all()
    assert values("m" + "[0]" * 2).tolist() == [0, 4, 8]
    assert values("(" * 40 + "a" + ")" * 40).tolist() == [1, -2, 3]


@pytest.mark.parametrize(
    ("branches", "names"),
    [
        (["trk/P", "trk.P"], {"trk/P"}),  # trk is an object: there is no quotient
        (["trk/P", "P"], {"trk/P"}),
        (["trk/P", "trk", "P"], {"trk", "P"}),
        (["trk", "P"], {"trk", "P"}),
        (["P", "trk"], {"trk", "P"}),
        ([], {"trk", "P"}),
    ],
)
def test_paths_with_slashes_are_columns_unless_their_parts_are(branches, names) -> None:
    assert Expression("trk/P > 2", branches=branches).names == names
    assert Expression("1 + trk/P*3", branches=branches).names == names


def test_the_longest_path_is_the_column() -> None:
    branches = ["event/inner/x", "event/inner", "y"]
    assert Expression("event/inner/x/y > 0", branches=branches).names == {"event/inner/x", "y"}
    assert Expression("event/inner/y > 0", branches=branches).names == {"event/inner", "y"}
    assert Expression("event / inner/y > 0", branches=branches).names == {"event", "inner", "y"}
    values = {"event/inner/x": np.array([1.0, 4.0]), "y": np.array([2.0, 2.0])}
    assert Expression("event/inner/x/y", branches=branches)(values).to_list() == [0.5, 2.0]
