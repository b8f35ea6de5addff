"""Synthetic histories of the arena: streams of the literature by their formulas, with fixed seeds.

A day has 50 rows, at even distances; where the concept has a year, a block is a week of 49 rows.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from optagent.arrays import Vector
from optagent.codec import model_from
from tests.performance.histories import Told

ROWS, A_DAY = 20_000, 50
A_WEEKDAY = 7
BEGINS = "2018-01-01"


def sea_history(rows: int = ROWS) -> Told:
    """Four concepts after each other (Street & Kim 2001): x1 + x2 up to 8, 9, 7 and 9.5 is 1, x3 says nothing; 10 %
    of the labels are noise."""
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 10, size=(rows, 3))
    theta = np.array([8.0, 9.0, 7.0, 9.5])[np.arange(rows) * 4 // rows]
    label = _flip(x[:, 0] + x[:, 1] <= theta, np.full(rows, 0.1), rng)
    return _history_of("sea", {f"x{place + 1}": x[:, place] for place in range(3)}, label)


def hyperplane_history(rows: int = ROWS) -> Told:
    """A hyperplane in ten dimensions that rotates (Hulten et al. 2001, as MOA makes it): each weight moves by .001 a
    row, and may turn round every hundred rows with a chance of 10 %; 5 % of the labels are noise."""
    rng = np.random.default_rng(2)
    x = rng.uniform(size=(rows, 10))
    turns = np.where(rng.random((rows // 100 + 1, 10)) < 0.1, -1.0, 1.0).cumprod(axis=0)
    weights = rng.uniform(size=10) + 0.001 * np.repeat(turns, 100, axis=0)[:rows].cumsum(axis=0)
    label = _flip((weights * x).sum(axis=1) >= weights.sum(axis=1) / 2, np.full(rows, 0.05), rng)
    return _history_of("hyperplane", {f"x{place}": x[:, place] for place in range(10)}, label)


def still_history(rows: int = ROWS) -> Told:
    """A logistic model with interactions that never changes."""
    return _history_of("still", *_logistic(rows, np.random.default_rng(3)))


def noisy_history(rows: int = ROWS) -> Told:
    """The same model, of which 20 % of the labels between the half and 65 % of the rows are flipped."""
    rng = np.random.default_rng(4)
    columns, label = _logistic(rows, rng)
    place = np.arange(rows) / rows
    return _history_of("noisy", columns, _flip(label, np.where((place >= 0.5) & (place < 0.65), 0.2, 0.0), rng))


def seasonal_history(rows: int = ROWS) -> Told:
    """Eight years of seven rows a day. The effect of `a` follows the year, which is no column; that of `b` follows
    the day of the week, which is."""
    rng = np.random.default_rng(5)
    day = np.arange(rows) // A_WEEKDAY
    a, b, c = rng.normal(size=(3, rows))
    margin = 1.5 * np.cos(2 * np.pi * day / 365.25) * a + 1.5 * np.sin(2 * np.pi * day / 7) * b + 0.5 * c
    columns = {"a": a, "b": b, "c": c, "weekday": (day % 7).astype(np.float64)}
    return _history_of("seasonal", columns, rng.random(rows) < _sigmoid(margin), A_WEEKDAY)


def _logistic(rows: int, rng: np.random.Generator) -> tuple[dict[str, Vector], npt.NDArray[np.bool_]]:
    a, b, c, d, e = rng.normal(size=(5, rows))
    margin = a - 0.5 * b + 1.2 * a * b - 0.8 * (c > 0) * d + 0.3
    return {"a": a, "b": b, "c": c, "d": d, "e": e}, rng.random(rows) < _sigmoid(margin)


def _sigmoid(margin: Vector) -> Vector:
    return 1 / (1 + np.exp(-margin))


def _flip(label: npt.NDArray[np.bool_], share: Vector, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    return label ^ (rng.random(len(label)) < share)


def _history_of(name: str, columns: dict[str, Vector], label: npt.NDArray[np.bool_], a_day: int = A_DAY) -> Told:
    """The rows at even distances, the first one after midnight."""
    seconds = (np.arange(len(label)) + 0.5) * 86_400 / a_day
    at = np.datetime64(BEGINS, "s") + seconds.astype("timedelta64[s]")
    spec = {
        "id": name,
        "task": "binary",
        "data": f"{name}.parquet",
        "target": "label",
        "time_column": "at",
        "families": ["lightgbm"],
        "holdout_fraction": 0.1,
        "monitoring": {"performance_window_hours": 168 if a_day == A_DAY else 168 * 4},
    }
    return Told(model_from(spec), pa.table({"at": at, **columns, "label": label.astype(np.int64)}), 0.2)
