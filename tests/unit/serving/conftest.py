"""Served models of the tests: a small one of every family and task, with the oddities of real columns."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_limits

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named
from optagent.training.manifest import FORMAT, Manifest
from optagent.training.predictor import Predictor

MakePredictor = Callable[..., Predictor]


@cache
def make_rows(task: Task, count: int = 300) -> pa.Table:
    """Numbers, a date, a truth, texts of few and of many levels; nothing is complete."""
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(2, count))
    city = rng.choice(["Bern", "Oslo", "Rome", "Zürich"], count)
    shop = rng.integers(0, 40, count)
    open_ = rng.random(count) < 0.5
    signal = 2 * a - b * b + 2 * (city == "Oslo") + shop % 3 + open_ + 0.2 * rng.normal(size=count)
    targets = {
        Task.BINARY: np.where(signal > np.median(signal), "yes", "no"),
        Task.MULTICLASS: np.digitize(signal, np.quantile(signal, [0.3, 0.8])),
        Task.REGRESSION: signal,
    }
    days = [datetime(2024, 1, 1) + timedelta(hours=7 * hour) for hour in range(count)]  # noqa: DTZ001

    def with_missing(values: Any) -> pa.Array:
        return pa.array(values, mask=rng.random(count) < 0.08)

    return pa.table(
        {
            "a": with_missing(a),
            "b": pa.array(b),
            "count": with_missing(rng.integers(0, 9, count)),
            "city": with_missing(city),
            "shop": with_missing([f"shop {number}" for number in shop]),
            "open": with_missing(open_),
            "day": pa.array(days),
            "label": pa.array(targets[task]),
        }
    )


@cache
def train_predictor(family: str, task: Task, rounds: int = 12, metric: str = "", **params: Any) -> Predictor:
    table = make_rows(task)
    schema = fit_schema(table, ModelSpec("shop", task, FileSource("rows.csv"), "label"))
    data = load_data(table, schema, metric=metric)
    with threadpool_limits(1):
        fit = family_named(family).start(params, data, np.arange(len(data)), seed=1)
        fit.advance(rounds)
    manifest = Manifest(FORMAT, "shop", task, family, params, rounds, schema.classes, schema.names, 0.0)
    return Predictor(manifest, schema, fit.model())


@pytest.fixture(scope="session")
def make_predictor() -> MakePredictor:
    return train_predictor


@pytest.fixture(scope="session")
def make_served_rows() -> Callable[[Task], pa.Table]:
    return make_rows
