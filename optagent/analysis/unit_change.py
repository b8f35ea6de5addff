"""Unit change: a column whose values moved as they would in another unit, such as degrees or thousands."""

import numpy as np

from optagent.arrays import Vector
from optagent.domain.diagnosis import UnitChange

_FEWEST_ROWS = 50
_OFF_LINE = 0.1  # of the spread
_NO_SHIFT = 0.25  # of the spread
_SAME_FACTOR = 0.1
_ANY_FACTOR = 50.0
_DEGREES = ((1.8, 32.0, "degrees Celsius to Fahrenheit"), (1 / 1.8, -32 / 1.8, "degrees Fahrenheit to Celsius"))
_FACTORS = (
    (24.0, "hours and days"),
    (60.0, "minutes and hours, or seconds and minutes"),
    (1440.0, "minutes and days"),
    (3600.0, "seconds and hours"),
    (86_400.0, "seconds and days"),
    *((10.0**power, f"a factor of {10**power:,}") for power in range(1, 13)),
)


def unit_change(reference: Vector, current: Vector) -> UnitChange | None:
    """The change of unit that makes one sample out of the other, None without one; NaN is left out.

    Quantiles of both must lie on a line: one through zero whose slope is a familiar factor (or its inverse), that of
    degrees Celsius to Fahrenheit or back, or any with a slope of at least 50, which the world seldom has.
    """
    then, now = reference[np.isfinite(reference)], current[np.isfinite(current)]
    if len(then) < _FEWEST_ROWS or len(now) < _FEWEST_ROWS:
        return None
    at = np.linspace(0.05, 0.95, 19)
    before, after = np.quantile(then, at), np.quantile(now, at)
    if before[0] == before[-1] or after[0] == after[-1]:
        return None
    scale, shift = np.polyfit(before, after, 1)
    off_line = np.abs(after - (scale * before + shift)).max() / (after[-1] - after[0])
    if scale <= 0 or off_line > _OFF_LINE:
        return None
    for slope, by, name in _DEGREES:
        if abs(scale / slope - 1) < 0.1 and abs(shift - by) < 0.1 * abs(by):
            return UnitChange(float(scale), float(shift), name)
    times = max(scale, 1 / scale)
    name = next((name for factor, name in _FACTORS if abs(times / factor - 1) < _SAME_FACTOR), "")
    familiar = bool(name) and abs(shift) < _NO_SHIFT * (after[-1] - after[0])
    if not familiar and times < _ANY_FACTOR:
        return None
    return UnitChange(float(scale), float(shift), name if familiar else "")
