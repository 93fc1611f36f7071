import awkward as ak
import numpy as np
import pytest

from hepgan.data.expressions import Expression
from hepgan.errors import ConfigError

ARRAYS = {
    "a": ak.Array(np.array([1.0, -2.0, 3.0])),
    "b": ak.Array(np.array([0, 1, 2])),
    "flag": ak.Array(np.array([True, False, True])),
    "m": ak.Array(np.arange(12.0).reshape(3, 2, 2)),
    "hits": ak.Array([[1.0, 2.0], [], [5.0]]),
    "calo.e": ak.Array(np.array([7.0, 8.0, 9.0])),
    "track-pt": ak.Array(np.array([4.0, 5.0, 6.0])),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", [1, -2, 3]),
        ("a + 2 * b**2 - 1", [0, -1, 10]),
        ("a / 2 // 1 % 2", [0, 1, 1]),
        ("-abs(a)", [-1, -2, -3]),
        ("a > 0", [True, False, True]),
        ("a > 0 and b < 2", [True, False, False]),
        ("a > 0 && b < 2 || b == 1", [True, True, False]),
        ("!flag", [False, True, False]),
        ("not (a != 1)", [True, False, False]),
        ("~(a > 0) | (b >= 2) & (a <= 3)", [False, True, True]),
        ("0 < b <= 2", [False, True, True]),
        ("m[0, 1]", [1, 5, 9]),
        ("m[1][0]", [2, 6, 10]),
        ("m[:, 1, 1]", [3, 7, 11]),
        ("sum(m)", [6, 22, 38]),
        ("sum(hits)", [3, 0, 5]),
        ("max(m) > 5", [False, True, True]),
        ("any(hits > 1)", [True, False, True]),
        ("all(hits > 1)", [False, True, True]),
        ("sqrt(calo.e + 2)", [3, np.sqrt(10), np.sqrt(11)]),
        ("track-pt", [4, 5, 6]),
        ("log10(a) > 0", [False, False, True]),  # log of a negative number: no warning, never true
    ],
)
def test_values(text, expected) -> None:
    expression = Expression(text, branches=ARRAYS)
    np.testing.assert_allclose(ak.to_numpy(expression(ARRAYS)), expected)


def test_names_are_the_branches_it_needs() -> None:
    assert Expression("sqrt(a*a + calo.e) > m[0] and not flag").names == {"a", "calo.e", "m", "flag"}
    assert Expression("track-pt", branches=["track-pt"]).names == {"track-pt"}
    assert Expression("track-pt").names == {"track", "pt"}


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "a.sum()",
        "open(a)",
        "[a]",
        "a if b else 1",
        "lambda: 1",
        "'text'",
        "a in b",
        "a[b]",
        "a @ b",
    ],
)
def test_only_the_language_is_allowed(text) -> None:
    with pytest.raises(ConfigError, match=r"data\.cut .* is not allowed; expected branches, numbers"):
        Expression(text, label="data.cut")


@pytest.mark.parametrize("text", ["a >", "a > 1)", "", "a = 1", "1a"])
def test_what_does_not_parse(text) -> None:
    with pytest.raises(ConfigError, match=r"data\.cut .*: expected an expression of branches such as"):
        Expression(text, label="data.cut")


@pytest.mark.parametrize("text", ["a > 1 & b < 2", "a > 1 | b < 2"])
def test_forgotten_brackets_do_not_pass_silently(text) -> None:
    with pytest.raises(ConfigError, match="bind stronger than comparisons; expected brackets"):
        Expression(text)
    assert Expression("(b & 1) == 1")(ARRAYS).tolist() == [False, True, False]


@pytest.mark.parametrize("text", ["a & b", "m[7]", "a + hits[3]", "sqrt(a, b, m)"])
def test_what_does_not_fit_the_branches(text) -> None:
    with pytest.raises(ConfigError, match=r"weight .*: cannot be evaluated .*fit the types and shapes"):
        Expression(text, label="weight")(ARRAYS)
