"""Serving cost of a model: objectives beside its quality, measured on the model itself."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from optagent.arrays import Matrix, Score
from optagent.domain.model import Task
from optagent.domain.study import Objective
from optagent.errors import InvalidRequest
from optagent.training.crossfit import Crossfit, Measurement
from optagent.training.families.family import FittedModel
from optagent.training.metrics import METRICS, metric_named

Cost = Callable[[FittedModel, Matrix], float]
Values = tuple[float, ...]

_WARM_UP = 5
_CALLS = 200
_LIMIT_S = 0.25


def latency_p99_ms(model: FittedModel, rows: Matrix) -> float:
    """The 99th percentile of the time to predict one row, in milliseconds: 200 calls, or as many as .25 s allow."""
    return float(np.quantile(one_row_times_s(model.predict, rows, _LIMIT_S), 0.99) * 1000)


def one_row_times_s(predict: Callable[[Matrix], object], rows: Matrix, limit_s: float) -> list[float]:
    """The seconds that each call with one row took: 200 calls, or as many as `limit_s` allows, at least one."""
    times_s: list[float] = []
    until = time.perf_counter() + limit_s
    for call in range(_WARM_UP + _CALLS):
        row = rows[call % len(rows)][None, :]
        started_at = time.perf_counter()
        predict(row)
        ended_at = time.perf_counter()
        if call >= _WARM_UP:
            times_s.append(ended_at - started_at)
            if ended_at > until:
                break
    return times_s


def size_mb(model: FittedModel, rows: Matrix) -> float:
    """The size of the model's own files, in megabytes."""
    with tempfile.TemporaryDirectory(prefix="optagent-size-") as folder:
        model.save(Path(folder))
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6


COSTS: dict[str, Cost] = {"latency_p99_ms": latency_p99_ms, "size_mb": size_mb}


def objective_named(name: str, task: Task) -> Objective:
    """The objective of that name: a cost, which is minimised, or a metric of the task; InvalidRequest lists them."""
    if name in COSTS:
        return Objective(name, maximize=False)
    names = sorted([metric.name for metric in METRICS.values() if task in metric.tasks] + list(COSTS))
    if name not in names:
        raise InvalidRequest(f"unknown objective {name!r} for a {task} model; one of {names}")
    return Objective(name, metric_named(name, task).maximize)


def objective_values(
    objectives: Sequence[Objective], crossfit: Crossfit, measurement: Measurement, rows: Matrix
) -> Values:
    """Every objective of a trial at its best, the metric first; costs are measured on its model and `rows`."""
    costly = any(objective.name in COSTS for objective in objectives)
    model = crossfit.model() if costly else None
    values = [measurement.score]
    for objective in objectives[1:]:
        if model is not None and objective.name in COSTS:
            values.append(COSTS[objective.name](model, rows))
        else:
            values.append(measurement.others[objective.name])
    return tuple(values)


def other_scores(objectives: Sequence[Objective], task: Task) -> dict[str, Score]:
    """The metrics among the objectives after the first."""
    return {
        objective.name: metric_named(objective.name, task).score
        for objective in objectives[1:]
        if objective.name not in COSTS
    }
