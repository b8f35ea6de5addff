import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optagent.analysis.expression import compile_expression
from optagent.errors import InvalidRequest

COLUMNS = {
    "stake": np.array([1.0, 2.0, 3.0, 4.0]),
    "fee": np.array([1, 1, 1, 1]),
    "won": np.array([True, False, True, False]),
    "prediction": np.array(["up", "up", "down", "down"], dtype=object),
    "label": np.array(["up", "down", None, "down"], dtype=object),
    "odds": np.array([0.0, 1.0, np.nan, 2.0]),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stake * (prediction == label) - fee", [0, -1, np.nan, 3]),
        ("where(prediction == 'up', stake, -stake)", [1, 2, -3, -4]),
        ("where(won and stake > 1, 1, 0)", [0, 0, 1, 0]),
        ("not won or stake == 1", [1, 1, 0, 1]),
        ("1 < stake <= 3", [0, 1, 1, 0]),
        ("min(stake, 2, 3) + max(stake, 3)", [4, 5, 5, 6]),
        ("clip(stake, 2, 3) ** 2", [4, 4, 9, 9]),
        ("abs(-stake) + +fee", [2, 3, 4, 5]),
        ("exp(log(stake))", [1, 2, 3, 4]),
        ("prediction != 'up'", [0, 0, 1, 1]),
        ("2", [2, 2, 2, 2]),
    ],
)
def test_expressions_are_arithmetic_on_columns(text: str, expected: list[float]) -> None:
    assert compile_expression(text)(COLUMNS) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("text", ["stake / odds", "log(odds)", "odds > 1", "9 ** 9 ** 9 ** 9 * odds"])
def test_what_is_unknown_or_not_finite_is_missing(text: str) -> None:
    values = compile_expression(text)(COLUMNS)
    assert np.isnan(values[2])
    assert not np.isinf(values).any()


def test_a_column_without_a_single_value_makes_everything_unknown() -> None:
    columns = {**COLUMNS, "label": np.full(4, np.nan)}
    assert np.isnan(compile_expression("stake * (prediction == label)")(columns)).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stake.real", "stake.real"),
        ("stake[0]", r"stake\[0\]"),
        ("__import__('os').system('true')", "__import__"),
        ("open('x')", "open"),
        ("(lambda: 1)()", "lambda"),
        ("[s for s in stake]", "for s in"),
        ("stake if won else fee", "stake if won"),
        ("stake @ fee", "stake @ fee"),
        ("~won", "~won"),
        ("stake is fee", "stake is fee"),
        ("max(*stake)", "max"),
        ("log(x=1)", "log"),
        ("min(stake)", "2 to 20 arguments, got 1"),
        ("log", "log is a function"),
        ("'up'", "may only be compared"),
        ("'up' * 9", "may only be compared"),
        ("1e999", "too large"),
        ("9" * 400, "too large"),
        ("1j", "1j"),
        ("", "not an expression"),
        ("stake = 1", "not an expression"),
        ("(" * 300, "not an expression"),
        ("-" * 400 + "1", "deeply nested"),
        ("a" + ".b" * 240, "not allowed"),
        ("stake +" * 100 + "stake", "at most 500 characters"),
        ("+".join("a" * 120), "deeply nested"),
    ],
)
def test_anything_else_is_refused_and_named(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        compile_expression(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stakes * 2", r"no column 'stakes'; one of \['fee'"),
        ("prediction * 2", "column 'prediction' holds no numbers"),
        ("prediction == 1", "compares a text"),
        ("prediction < 'up'", "compares a text"),
        ("stake == 'up'", "compares a text"),
    ],
)
def test_columns_that_do_not_fit_are_refused_and_named(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        compile_expression(text)(COLUMNS)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"different lengths, \[1, 2\]"):
        compile_expression("a + b")({"a": np.ones(1), "b": np.ones(2)})


def test_no_rows_give_no_values() -> None:
    empty = {"stake": np.empty(0), "label": np.empty(0, dtype=object), "prediction": np.empty(0, dtype=object)}
    assert len(compile_expression("stake * (prediction == label) + 1")(empty)) == 0


@given(st.text(max_size=60))
def test_any_text_is_refused_or_evaluated(text: str) -> None:
    try:
        values = compile_expression(text)(COLUMNS)
    except InvalidRequest:
        return
    assert values.shape == (4,)
