"""Candidates: every combination worth a look, lazily, those of the most promising columns first."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from optagent.arrays import Vector
from optagent.training.plan import (
    Calendar,
    Difference,
    GroupDifference,
    GroupMean,
    Part,
    Power,
    Product,
    Ratio,
    Step,
    WindowSummary,
)
from optagent.training.problem import Data

_PARTS: tuple[Part, ...] = ("hour", "weekday", "day", "month", "yearday")
_NUMBERED = re.compile(r"(.*?)[_\- ]?(\d+)")
_MOST_LOOKED_AT = 10_000  # rows: enough to know what a column holds


@dataclass(frozen=True, slots=True)
class CandidateInputs:
    """What each column can be used for. Numbers of one sign have one ratio worth a look: the other is its inverse.

    `names` are all columns in their order; `windows` those of one name and different numbers, such as range_5, range_10
    and range_21.
    """

    names: tuple[str, ...]
    numbers: frozenset[str]
    flags: frozenset[str]
    categories: frozenset[str]
    dates: frozenset[str]
    one_signed: frozenset[str]
    windows: tuple[tuple[str, ...], ...] = ()


def inputs_of(data: Data, dates: Collection[str] = (), left_out: Collection[str] = ()) -> CandidateInputs:
    """The uses of the columns that are not `left_out`; `dates` names those that hold days since 1970."""
    thin = data.x[:: max(1, len(data) // _MOST_LOOKED_AT)]
    codes = {data.names[index] for index in data.categorical}
    numbers, flags, one_signed = set(), set(), set()
    for index, name in enumerate(data.names):
        if name in left_out or name in codes or name in dates:
            continue
        found = thin[:, index]
        values = np.unique(found[~np.isnan(found)])
        if len(values) < 3:
            flags.add(name)
            continue
        numbers.add(name)
        if values[0] > 0 or values[-1] < 0:
            one_signed.add(name)
    left = set(left_out)
    return CandidateInputs(
        names=data.names,
        numbers=frozenset(numbers),
        flags=frozenset(flags),
        categories=frozenset(codes - left),
        dates=frozenset(set(dates) - left),
        one_signed=frozenset(one_signed),
        windows=_windows([name for name in data.names if name in numbers]),
    )


def candidates(inputs: CandidateInputs, order: Sequence[str], flexible: bool = True) -> Iterator[Step]:
    """All of them: those of the first t columns in `order` come before any that needs the one after.

    A `flexible` family (trees) learns any function of one column by itself: powers that keep its order are left out,
    and so is the ratio that is another's inverse.
    """
    place = {name: index for index, name in enumerate(inputs.names)}
    for window in inputs.windows:
        yield from (WindowSummary(window, "mean"), WindowSummary(window, "range"))
    for index, name in enumerate(order):
        yield from _alone(name, inputs, flexible)
        for other in order[:index]:
            a, b = sorted((other, name), key=place.__getitem__)
            yield from _together(a, b, inputs, flexible)


def most_promising(names: Sequence[str], promise: Vector) -> list[str]:
    """The names by promise, equals in their own order."""
    return [names[index] for index in np.argsort(-promise, kind="stable")]


def free_of_clashes(steps: Iterator[Step], columns: Collection[str]) -> Iterator[Step]:
    """Without those whose name a column already has."""
    return (step for step in steps if step.name not in columns)


def _alone(name: str, inputs: CandidateInputs, flexible: bool) -> Iterator[Step]:
    if name in inputs.dates:
        yield from (Calendar(name, part) for part in _PARTS)
    if name in inputs.numbers and not flexible:
        yield from (Power(name, 2), Power(name, 3))


def _together(a: str, b: str, inputs: CandidateInputs, flexible: bool) -> Iterator[Step]:
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
    for category, number in ((a, b), (b, a)):
        if category in inputs.categories and number in inputs.numbers:
            yield from (GroupMean(category, number), GroupDifference(category, number))


def _windows(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in names:
        numbered = _NUMBERED.fullmatch(name)
        if numbered and numbered[1]:
            found[numbered[1]].append((int(numbered[2]), name))
    return tuple(tuple(name for _, name in sorted(each)) for each in found.values() if 3 <= len(each) <= 30)
