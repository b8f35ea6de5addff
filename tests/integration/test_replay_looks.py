"""A replay's looks make only the findings of a window's report: all else of the replay is as with whole reports."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.backtest import simulate as replay
from optagent.backtest.ports_in_memory import ports_in_memory
from optagent.codec import encode, model_from
from optagent.domain.backtest import BacktestAsk, Contender
from optagent.domain.policy import Action, OptimizationType, RetrainingPolicy, Trigger

DAYS, A_DAY = 220, 20
ALERTED = (Trigger.DEGRADATION, Trigger.CONCEPT_DRIFT, Trigger.DRIFT, Trigger.CONFIDENCE)
POLICY = RetrainingPolicy(ALERTED, Action.FULL, "aggressive", OptimizationType.RETRAIN, cooldown="21d")


def history(target: str) -> pa.Table:
    """A column moves on day 90, another is missing in days 130 to 140, and the target turns round on day 160."""
    rng = np.random.default_rng(5)
    day = np.repeat(np.arange(DAYS), A_DAY)
    x = rng.normal(size=(len(day), 4))
    x[:, 1] += np.where(day >= 90, 1.5, 0.0)
    x[(day >= 130) & (day < 140), 2] = np.nan
    signal = np.where(day >= 160, -2.0, 2.0) * x[:, 0] + x[:, 1]
    noisy = signal + rng.normal(size=len(day))
    y = np.where(noisy > 0, "yes", "no") if target == "binary" else noisy
    at = np.datetime64("2020-01-01", "us") + day.astype("timedelta64[D]")
    return pa.table({"at": at, **{f"x{place}": x[:, place] for place in range(4)}, "label": y})


def replay_records(task: str, monkeypatch: pytest.MonkeyPatch, keeps_reports: bool) -> dict[str, Any]:
    """What a replay predicts, decides and stores, reports aside; numbers of the clock of this machine left out."""
    ports = []

    def in_memory(*arguments: Any) -> Any:
        ports.append(replace(ports_in_memory(*arguments), keeps_reports=keeps_reports))
        return ports[-1]

    monkeypatch.setattr(replay, "ports_in_memory", in_memory)
    fields = {"task": task, "data": "rows.parquet", "target": "label", "time_column": "at"}
    settings = {"folds": 2, "families": ["linear"], "monitoring": {"performance_window_hours": 168}}
    ask = BacktestAsk((), "8d", start=0.35, step="7d")
    outcome = replay.simulate(model_from({"id": "m", **fields, **settings}), history(task), Contender("p", POLICY), ask)
    store, observations = ports[0].store, ports[0].observations
    runs = tuple(replace(run, compute_s=0.0) for run in outcome.run.runs)
    alerts = [json.loads(data) for _, data, _ in store._alerts.values()]
    return {
        "predictions": outcome.prediction.tolist(),
        "run": encode(replace(outcome.run, runs=runs, counted=replace(outcome.run.counted, compute_s=0.0))),
        "alerts": [{name: value for name, value in alert.items() if name != "alert_id"} for alert in alerts],
        "detector": store._detectors.get("m"),
        "marks": store._watch_marks["m"],
        "labels": store._label_histories["m"],
        "training rows": [rows.to_pylist() for rows in observations.matured("m", "")],
    }


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_look_that_makes_findings_only_decides_and_stores_what_whole_reports_would(task, monkeypatch):
    whole = replay_records(task, monkeypatch, keeps_reports=True)
    brief = replay_records(task, monkeypatch, keeps_reports=False)
    assert whole.keys() == brief.keys()
    for name in whole:
        assert whole[name] == brief[name], name
    assert len({alert["kind"] for alert in brief["alerts"]}) >= 3, "the world changes in several ways"
