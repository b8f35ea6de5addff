"""Candidate features: every combination of columns worth testing, generated lazily, most promising columns first."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from optagent.arrays import Matrix, Vector
from optagent.domain.model import Task
from optagent.training.problem import Data
from optagent.training.steps import (
    Calendar,
    CategoryShare,
    DatePart,
    Difference,
    GroupDifference,
    GroupMean,
    MissingCount,
    PairShare,
    Power,
    Product,
    Ratio,
    Step,
    WindowSummary,
)
from optagent.training.target_mean import TargetMean

_PARTS: tuple[DatePart, ...] = ("hour", "weekday", "day", "month", "yearday")
_NUMBERED = re.compile(r"(.*?)[_\- ]?(\d+)")
_SAMPLE_ROWS = 10_000  # enough to see the values of a column
_MOST_PAIRS = 10_000  # of codes: the table of a pair is part of the plan


@dataclass(frozen=True, slots=True)
class CandidateInputs:
    """The uses of each column. Only one ratio of two numbers of one sign is a candidate, since the other is its
    inverse.

    `names` are all columns in their order. `windows` are columns of one name with different numbers, such as range_5,
    range_10 and range_21. `levels` are the numbers of codes of the categories, `missing` the columns with missing
    values. `has_mean` is true for a target of which means can be taken: one of several classes has none.
    """

    names: tuple[str, ...]
    numbers: frozenset[str]
    flags: frozenset[str]
    categories: frozenset[str]
    dates: frozenset[str]
    one_signed: frozenset[str]
    windows: tuple[tuple[str, ...], ...] = ()
    levels: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    has_mean: bool = False


def candidate_inputs(data: Data, dates: Collection[str] = (), left_out: Collection[str] = ()) -> CandidateInputs:
    """The uses of the columns that are not `left_out`; `dates` names those that hold days since 1970."""
    sample = data.x[:: max(1, len(data) // _SAMPLE_ROWS)]
    codes = {data.names[index] for index in data.categorical}
    numbers, flags, one_signed = set(), set(), set()
    for index, name in enumerate(data.names):
        if name in left_out or name in codes or name in dates:
            continue
        column = sample[:, index]
        values = np.unique(column[~np.isnan(column)])
        if len(values) < 3:
            flags.add(name)
            continue
        numbers.add(name)
        if values[0] > 0 or values[-1] < 0:
            one_signed.add(name)
    excluded = set(left_out)
    return CandidateInputs(
        names=data.names,
        numbers=frozenset(numbers),
        flags=frozenset(flags),
        categories=frozenset(codes - excluded),
        dates=frozenset(set(dates) - excluded),
        one_signed=frozenset(one_signed),
        windows=_window_families([name for name in data.names if name in numbers]),
        levels={data.names[index]: levels for index, levels in zip(data.categorical, data.levels, strict=True)},
        missing=tuple(name for name in _columns_with_missing(data.names, sample) if name not in excluded),
        has_mean=data.task is not Task.MULTICLASS,
    )


def candidates(inputs: CandidateInputs, order: Sequence[str], flexible: bool = True) -> Iterator[Step]:
    """All candidates: those of the first t columns in `order` come before any that needs the next column.

    A `flexible` family (trees) learns any function of one column by itself: for it, powers that keep a column's order
    are left out, and so is a ratio that is the inverse of another.
    """
    place = {name: index for index, name in enumerate(inputs.names)}
    if len(inputs.missing) > 1:
        yield MissingCount(inputs.missing)
    for window in inputs.windows:
        yield from (WindowSummary(window, "mean"), WindowSummary(window, "range"))
    for index, name in enumerate(order):
        yield from _single_column_steps(name, inputs, flexible)
        for other in order[:index]:
            a, b = sorted((other, name), key=place.__getitem__)
            yield from _pair_steps(a, b, inputs, flexible)


def most_promising(names: Sequence[str], promise: Vector) -> list[str]:
    """The names by falling promise; equal ones keep their order."""
    return [names[index] for index in np.argsort(-promise, kind="stable")]


def without_name_clashes(steps: Iterator[Step], columns: Collection[str]) -> Iterator[Step]:
    """The steps whose name is not that of a column."""
    return (step for step in steps if step.name not in columns)


def _single_column_steps(name: str, inputs: CandidateInputs, flexible: bool) -> Iterator[Step]:
    if name in inputs.dates:
        yield from (Calendar(name, part) for part in _PARTS)
    if name in inputs.categories:
        yield CategoryShare(name)
        if inputs.has_mean:
            yield TargetMean((name,))
    if name in inputs.numbers and not flexible:
        yield from (Power(name, 2), Power(name, 3))


def _pair_steps(a: str, b: str, inputs: CandidateInputs, flexible: bool) -> Iterator[Step]:
    if {a, b} <= inputs.numbers | inputs.flags:
        if {a, b} & inputs.numbers:
            yield Product(a, b)
        if {a, b} <= inputs.numbers:
            yield Difference(a, b)
            yield Ratio(a, b)
            if not flexible or not {a, b} <= inputs.one_signed:
                yield Ratio(b, a)
    elif {a, b} <= inputs.dates:
        yield Difference(a, b)
    elif {a, b} <= inputs.categories and inputs.levels.get(a, 1) * inputs.levels.get(b, 1) <= _MOST_PAIRS:
        yield PairShare(a, b)
        if inputs.has_mean:
            yield TargetMean((a, b))
    for category, number in ((a, b), (b, a)):
        if category in inputs.categories and number in inputs.numbers:
            yield from (GroupMean(category, number), GroupDifference(category, number))


def _columns_with_missing(names: Sequence[str], sample: Matrix) -> list[str]:
    return [name for index, name in enumerate(names) if np.isnan(sample[:, index]).any()]


def _window_families(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    families: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match and match[1]:
            families[match[1]].append((int(match[2]), name))
    return tuple(tuple(name for _, name in sorted(each)) for each in families.values() if 3 <= len(each) <= 30)
