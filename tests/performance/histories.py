"""Histories that policies are replayed on: rows in time order, with what says how they are learned from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from optagent.codec import model_from
from optagent.domain.model import ModelSpec

A_DAY = 48
ELEC2 = ("day", "period", "nswdemand", "vicprice", "vicdemand", "transfer")
FLIGHTS = ("sched_dep_time", "sched_arr_time", "carrier", "origin", "dest", "distance")
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib")


@dataclass(frozen=True)
class Told:
    """A model's rows, and where the replay begins: a share of the rows, or a date."""

    spec: ModelSpec
    table: pa.Table
    start: float | str


def elec2(path: Path, days: int) -> Told:
    """The electricity market, without the price that its label is made of."""
    rows = pacsv.read_csv(path).slice(0, days * A_DAY)
    columns = {name: pc.cast(rows.column(name), pa.float64()) for name in ELEC2}
    label = pc.cast(pc.equal(rows.column("class"), "UP"), pa.int64())
    spec = {
        "id": "elec2",
        "task": "binary",
        "data": "elec2.csv.gz",
        "target": "class",
        "time_column": "at",
        "families": ["random_forest", "extra_trees", "lightgbm"],
        "holdout_fraction": 0.05,
        "monitoring": {"performance_window_hours": 168},
    }
    first = int(rows.num_rows * 0.2) // A_DAY * A_DAY
    at = _half_hours("1996-05-07", rows.num_rows)
    return Told(model_from(spec), pa.table({"at": at, **columns, "class": label}), str(at[first]))


def year(days: int = 365) -> Told:
    """Half hours in which after 150 days the effect of `a` changes its sign, and after 260 `b` moves."""
    rng = np.random.default_rng(0)
    count = days * A_DAY
    day = np.arange(count) // A_DAY
    a, b, c = rng.normal(size=(3, count))
    b = b + np.where(day >= 260, 1.0, 0.0)
    region = rng.choice(["north", "south", "east"], count)
    signal = np.where(day >= 150, -1.5, 1.5) * a + b - 0.5 * b * b + (region == "south") + rng.normal(size=count)
    label = np.where(signal > 0, "yes", "no")
    table = pa.table({"at": _half_hours("2024-01-01", count), "a": a, "b": b, "c": c, "region": region, "label": label})
    spec = {
        "id": "year",
        "task": "binary",
        "data": "year.parquet",
        "target": "label",
        "time_column": "at",
        "families": ["lightgbm"],
        "holdout_fraction": 0.1,
        "monitoring": {"performance_window_hours": 48},
    }
    return Told(model_from(spec), table, 0.3)


def stocks(target: str) -> Told:
    """Five shares by the day: whether the next day is `turbulent`, or `up`, which is noise."""
    from optagent.demo.market import direction, prices, turbulence

    made = turbulence if target == "turbulent" else direction
    spec = {
        "id": target,
        "task": "binary",
        "data": "stocks.parquet",
        "target": target,
        "time_column": "date",
        "label_horizon": "5d",
        "families": ["lightgbm"],
        "monitoring": {"performance_window_hours": 24 * 84, "false_alarm_every": "365d"},
    }
    return Told(model_from(spec), pa.Table.from_pandas(made(prices()), preserve_index=False), "2004-01-01")


def flights(path: Path, every: int = 4) -> Told:
    """Every fourth flight from New York in 2013 that arrived: whether it was over 15 minutes late."""
    rows = pq.read_table(path)
    rows = rows.filter(pc.is_valid(rows.column("arr_delay"))).sort_by("time_hour")
    rows = rows.take(pa.array(np.arange(0, rows.num_rows, every)))
    late = pc.cast(pc.greater(rows.column("arr_delay"), 15), pa.int64())
    spec = {
        "id": "flights",
        "task": "binary",
        "data": "flights.parquet",
        "target": "late",
        "time_column": "time_hour",
        "families": ["lightgbm"],
        "holdout_fraction": 0.1,
        "monitoring": {"performance_window_hours": 168},
    }
    table = rows.select(["time_hour", *FLIGHTS, *WEATHER]).append_column("late", late)
    return Told(model_from(spec), table, 0.3)


def _half_hours(start: str, count: int) -> np.ndarray:
    return np.datetime64(start, "s") + (np.arange(count) * (86_400 // A_DAY)).astype("timedelta64[s]")
