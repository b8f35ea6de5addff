"""A young window is corrected and provisional, its detectors judge matured rows, and an old one is neither."""

from io import StringIO

import numpy as np
import pytest
import pytest_asyncio
from rich.console import Console

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.agent import OptimizationAgent
from optagent.domain.concept_drift import DriftState
from optagent.domain.label_maturity import ALL
from optagent.terminal_report import show_labels, show_report

DAY, HOUR = 86_400.0, 3600.0
DAYS, A_DAY = 40, 400
START = 19_700 * DAY
NOW = START + DAYS * DAY + 60.0


def requests():
    """(rows,) times, outcomes, probabilities and delays: a "yes" is answered worse, and its label takes two days."""
    rng, rows = np.random.default_rng(0), DAYS * A_DAY
    y = rng.random(rows) < 0.2
    is_right = rng.random(rows) < np.where(y, 0.5, 0.9)
    delay = rng.exponential(np.where(y, 48 * HOUR, 6 * HOUR))
    delay[rng.random(rows) < 0.2] = np.inf
    return START + np.arange(rows) * DAY / A_DAY, y, np.where(is_right == y, 0.8, 0.2), delay


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text("a,label\n" + "\n".join(f"{row % 7},{'yes' if row % 5 == 0 else 'no'}" for row in range(600)))
    clock = ManualClock(NOW)
    ports = {"clock": clock, "store": InMemoryStore(clock), "registry": InMemoryRegistry(clock)}
    ports |= {"tracker": InMemoryTracker(), "observations": InMemoryObservations(), "tuner": SequentialTuner()}
    agent: OptimizationAgent = await create_optimization_agent(strict=True, **ports)
    time, y, probability, delay = requests()
    names = np.where(y, "yes", "no")
    rows = {"id": [f"r{row}" for row in range(len(time))], "time": time, "probability": probability, "a": probability}
    came = np.flatnonzero(time + delay <= NOW)
    labels = {"id": [f"r{row}" for row in came], "time": (time + delay)[came], "label": names[came]}
    async with agent:
        await agent.register_model({"id": "m", "task": "binary", "data": str(path), "target": "label"})
        past = {**rows, "time": time - 100 * DAY, "label": names}
        await agent.set_reference("m", {name: list(values[:6000]) for name, values in past.items()})
        await agent.record_predictions("m", {name: list(values) for name, values in rows.items()})
        await agent.record_labels("m", {name: list(values) for name, values in labels.items()})
        yield agent


@pytest.mark.asyncio(loop_scope="module")
async def test_a_young_window_is_provisional_corrected_and_judged_by_matured_rows_only(agent):
    report = await agent.analyze_model("m", "performance", (NOW - 60 - DAY, NOW - 60))
    accuracy = next(metric for metric in report.performance.metrics if metric.name == "accuracy")
    maturity = report.performance.maturity

    assert maturity.provisional
    assert maturity.corrected
    assert maturity.share == pytest.approx(0.65, abs=0.06)
    assert accuracy.interval.low < 0.82 < accuracy.interval.high
    assert report.concept_drift.state is DriftState.INSUFFICIENT
    assert not any(fall.degraded for fall in report.performance.degradation)
    assert all("0 labelled rows" in fall.reason for fall in report.performance.degradation)
    out = StringIO()
    show_report(Console(file=out, width=200), report)
    assert "PROVISIONAL until" in out.getvalue()
    assert "of the labels that ever come have come" in out.getvalue()


@pytest.mark.asyncio(loop_scope="module")
async def test_an_old_window_is_as_it_always_was_although_some_requests_never_get_a_label(agent):
    report = await agent.analyze_model("m", "performance", (START + 10 * DAY, START + 11 * DAY))

    assert not report.performance.maturity.provisional
    assert report.performance.labelled == pytest.approx(0.8 * A_DAY, rel=0.1)
    assert report.concept_drift.rows == report.performance.labelled
    assert all(fall.reason == "" for fall in report.performance.degradation if fall.name != "auc")


@pytest.mark.asyncio(loop_scope="module")
async def test_the_maturing_of_labels_is_told(agent):
    maturity = await agent.label_maturity("m")
    out = StringIO()
    show_labels(Console(file=out, width=200), maturity)

    assert [one.outcome for one in maturity.outcomes] == [ALL, "no", "yes"]
    assert maturity.ever == pytest.approx(0.8, abs=0.03)
    assert maturity.slowing is not None
    assert "no label delay is set" in out.getvalue()
    assert "labels come as fast as usual" in out.getvalue()
