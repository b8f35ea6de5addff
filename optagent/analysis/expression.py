"""Business metric expressions: arithmetic over named columns as users write it; nothing else is ever evaluated."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.domain.model import Task
from optagent.errors import InvalidRequest

Column = npt.NDArray[Any]

_LONGEST = 500
_MOST_NODES = 200
_DEEPEST = 30

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,  # of floats: too large a power is infinite, never slow
}
_UNARY = (ast.USub, ast.UAdd, ast.Not)
_COMPARE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}


def _where(condition: Vector, then: Vector, otherwise: Vector) -> Vector:
    return np.where(np.isnan(condition), np.nan, np.where(condition != 0, then, otherwise))


# By name: the function of float arrays, the fewest and the most arguments.
_FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "min": (lambda *values: np.minimum.reduce(np.broadcast_arrays(*values)), 2, 20),
    "max": (lambda *values: np.maximum.reduce(np.broadcast_arrays(*values)), 2, 20),
    "abs": (np.abs, 1, 1),
    "log": (np.log, 1, 1),
    "exp": (np.exp, 1, 1),
    "where": (_where, 3, 3),
    "clip": (lambda value, low, high: np.minimum(np.maximum(value, low), high), 3, 3),
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression; `names` are the columns that it reads, in the order of their first use.

    >>> profit = compile_expression("stake * (prediction == label) - fee")
    >>> profit.names
    ('stake', 'prediction', 'label', 'fee')
    """

    text: str
    names: tuple[str, ...]
    _tree: ast.expr

    def __call__(self, columns: Mapping[str, Column]) -> Vector:
        """(rows,) values, NaN where a value that is needed is missing or the result is not finite.

        Raises InvalidRequest for a column that is not there, of another length, or of texts where numbers are needed.
        """
        for name in self.names:
            if name not in columns:
                raise InvalidRequest(f"{self.text!r}: no column {name!r}; one of {sorted(columns)}")
        lengths = {len(columns[name]) for name in self.names} or {len(values) for values in columns.values()}
        if len(lengths) > 1:
            raise InvalidRequest(f"{self.text!r}: the columns are of different lengths, {sorted(lengths)}")
        with np.errstate(all="ignore"):
            values = _Evaluation(self.text, columns).number(self._tree)
            rows = np.broadcast_to(values, (max(lengths, default=0),))
            return np.where(np.isfinite(rows), rows, np.nan)


def answer_columns(task: Task, classes: Sequence[object], prediction: Vector, y: Vector) -> dict[str, Column]:
    """`prediction`, `label` and, of a classifier, `probability`: that of class 1, or of the most probable class.

    `prediction` and `y` are as in `ObservedRows`; a label that is not known is NaN, or the empty text.
    """
    if task is Task.REGRESSION:
        return {"prediction": prediction, "label": y}
    names = np.array([*(str(label) for label in classes), ""], dtype=object)
    if task is Task.BINARY:
        predicted, top = (prediction >= 0.5).astype(np.int64), prediction
    else:
        predicted, top = prediction.argmax(axis=1), prediction.max(axis=1)
    truth = np.where(np.isnan(y), len(names) - 1, y).astype(np.int64)
    return {"prediction": names[predicted], "label": names[truth], "probability": top}


def compile_expression(text: str) -> Expression:
    """The checked expression; InvalidRequest names what is no arithmetic, comparison or one of `_FUNCTIONS`."""
    text = text.strip()
    if len(text) > _LONGEST:
        raise InvalidRequest(f"an expression has at most {_LONGEST} characters, this one has {len(text):,}")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = getattr(error, "msg", None) or error
        raise InvalidRequest(f"{text!r} is not an expression: {reason}") from None
    return Expression(text, tuple(dict.fromkeys(_column_names(text, tree))), tree)


def _column_names(text: str, tree: ast.expr) -> list[str]:
    """The names of columns in the order of their use; walks without recursion, so that no depth of nesting can hurt."""
    names: list[str] = []
    waiting: list[tuple[ast.expr, int, bool]] = [(tree, 1, False)]
    nodes = 0
    while waiting:
        node, depth, in_comparison = waiting.pop()
        nodes += 1
        if nodes > _MOST_NODES or depth > _DEEPEST:
            raise InvalidRequest(f"{text!r}: too long or too deeply nested ({_MOST_NODES} parts, {_DEEPEST} levels)")
        if isinstance(node, ast.Name):
            if node.id in _FUNCTIONS:
                raise InvalidRequest(f"{text!r}: {node.id} is a function and needs its arguments")
            names.append(node.id)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not in_comparison:
            raise InvalidRequest(f"{text!r}: the text {node.value!r} may only be compared, by == or !=")
        waiting.extend((part, depth + 1, isinstance(node, ast.Compare)) for part in reversed(_children(text, node)))
    return names


def _children(text: str, node: ast.expr) -> list[ast.expr]:
    """The children of a node; InvalidRequest for a node that is not allowed."""
    match node:
        case ast.Name():
            return []
        case ast.Constant(value=bool() | int() | float() | str() as value):
            _check_constant(text, value)
            return []
        case ast.BinOp(left, operator, right) if type(operator) in _BINARY:
            return [left, right]
        case ast.UnaryOp(operator, operand) if isinstance(operator, _UNARY):
            return [operand]
        case ast.BoolOp(_, values):
            return list(values)
        case ast.Compare(left, operators, others) if all(type(operator) in _COMPARE for operator in operators):
            return [left, *others]
        case ast.Call(ast.Name(name), arguments, []) if name in _FUNCTIONS:
            _, fewest, most = _FUNCTIONS[name]
            if not fewest <= len(arguments) <= most:
                raise InvalidRequest(f"{text!r}: {name} takes {fewest} to {most} arguments, got {len(arguments)}")
            return list(arguments)
    segment = ast.get_source_segment(text, node)
    raise InvalidRequest(
        f"{text!r}: {segment!r} is not allowed; allowed are numbers, columns, + - * / **, comparisons, and, or, not,"
        f" and the functions {sorted(_FUNCTIONS)}"
    )


def _check_constant(text: str, value: bool | int | float | str) -> None:
    try:
        finite = isinstance(value, str) or np.isfinite(float(value))
    except OverflowError:
        finite = False
    if not finite:
        raise InvalidRequest(f"{text!r}: a number in it is too large")


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """The evaluation of one text. Truth is 1 or 0, and NaN where a value is missing: unknown values stay unknown."""

    text: str
    columns: Mapping[str, Column]

    def number(self, node: ast.expr) -> Vector:
        match node:
            case ast.Name(name):
                if _is_text(self.columns[name]):
                    raise InvalidRequest(f"{self.text!r}: column {name!r} holds no numbers, they are needed here")
                return np.asarray(self.columns[name], dtype=np.float64)
            case ast.Constant(bool() | int() | float() as value):
                return np.float64(value)  # type: ignore[return-value]
            case ast.BinOp(left, operator, right):
                return _BINARY[type(operator)](self.number(left), self.number(right))
            case ast.UnaryOp(operator, operand):
                return self._unary(operator, self.number(operand))
            case ast.BoolOp(operator, values):
                parts = np.broadcast_arrays(*(_truth(self.number(value)) for value in values))
                return (np.minimum if isinstance(operator, ast.And) else np.maximum).reduce(parts)
            case ast.Compare(left, operators, others):
                chain = [left, *others]
                pairs = [self._compare(*each) for each in zip(chain[:-1], operators, others, strict=True)]
                return np.minimum.reduce(np.broadcast_arrays(*pairs))
            case ast.Call(ast.Name(name), arguments):
                return _FUNCTIONS[name][0](*(self.number(argument) for argument in arguments))
        raise AssertionError(f"unchecked {node!r}")

    def _unary(self, operator: ast.unaryop, value: Vector) -> Vector:
        if isinstance(operator, ast.Not):
            return 1 - _truth(value)
        return -value if isinstance(operator, ast.USub) else value

    def _compare(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Vector:
        texts = [self._text(node) for node in (left, right)]
        one, other = texts
        if one is None and other is None:
            first, second = self.number(left), self.number(right)
            missing = np.isnan(first) | np.isnan(second)
            return np.where(missing, np.nan, _COMPARE[type(operator)](first, second))
        if one is None or other is None:
            numbers = self.number(left if one is None else right)
            if isinstance(left if one is None else right, ast.Name) and np.isnan(numbers).all():
                return np.full(numbers.shape, np.nan)  # a column without a value has no type to go by
        if one is None or other is None or not isinstance(operator, ast.Eq | ast.NotEq):
            comparison = ast.unparse(ast.Compare(left, [operator], [right]))
            raise InvalidRequest(
                f"{self.text!r}: {comparison!r} compares a text; texts compare by == and != with texts only"
            )
        present = [np.frompyfunc(lambda value: isinstance(value, str), 1, 1)(values).astype(bool) for values in texts]
        same = np.equal(one, other).astype(bool)
        return np.where(present[0] & present[1], same == isinstance(operator, ast.Eq), np.nan)

    def _text(self, node: ast.expr) -> Column | None:
        """The texts of a column or constant, None for numbers."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return np.array([node.value], dtype=object)
        if isinstance(node, ast.Name) and _is_text(self.columns[node.id]):
            return np.asarray(self.columns[node.id], dtype=object)
        return None


def _truth(value: Vector) -> Vector:
    return np.where(np.isnan(value), np.nan, value != 0)


def _is_text(values: Column) -> bool:
    """A column of objects is one of texts unless all that it holds are numbers or missing."""
    kind = np.asarray(values).dtype.kind
    if kind != "O":
        return kind not in "biuf"
    return any(not isinstance(value, int | float | np.number | np.bool_) and value is not None for value in values)
