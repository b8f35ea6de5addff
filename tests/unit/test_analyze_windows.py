"""Files that are analyzed window by window, by workers that may be elsewhere."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ray import cloudpickle

from optagent.adapters.in_memory.workers import SequentialPool
from optagent.domain.command import AnalyzeModel
from optagent.errors import InvalidRequest, ModelNotFound


@pytest.fixture
async def tuned(agent: Any, churn: dict[str, Any]) -> Any:
    await agent.register_model({**churn, "families": ["lightgbm"], "folds": 2})
    await agent.tune_hyperparameters("churn", method="random", trials=1)
    return agent


@pytest.fixture
def live(make_rows: Any, tmp_path: Path) -> str:
    pq.write_table(make_rows(600, seed=7), tmp_path / "live.parquet")
    return str(tmp_path / "live.parquet")


async def test_windows_are_told_in_the_order_of_time_and_the_whole_range_last(tuned, live):
    *parts, whole = await tuned.analyze_windows(AnalyzeModel("churn", time_range=None), live, None, 3)
    assert [report.quality.rows for report in (*parts, whole)] == [200, 200, 200, 600]
    assert [report.window for report in parts] == list(whole.window.parts(3))
    assert whole == await tuned.analyze_files("churn", live)


async def test_what_a_worker_analyzes_can_be_sent_to_another_process(tuned, live, monkeypatch):
    direct = await tuned.analyze_windows(AnalyzeModel("churn", time_range=None), live, None, 1)
    map_here = SequentialPool.map

    def map_elsewhere(pool: SequentialPool, work: Any, items: Any, cancelled: Any = lambda: False) -> Any:
        return map_here(pool, *cloudpickle.loads(cloudpickle.dumps((work, items))), cancelled)

    monkeypatch.setattr(SequentialPool, "map", map_elsewhere)
    assert await tuned.analyze_windows(AnalyzeModel("churn", time_range=None), live, None, 1) == direct


async def test_no_window_and_an_unknown_model_are_refused(tuned, live):
    with pytest.raises(InvalidRequest, match="windows must be at least 1, got 0"):
        await tuned.analyze_windows(AnalyzeModel("churn", time_range=None), live, None, 0)
    with pytest.raises(ModelNotFound, match="nobody"):
        await tuned.analyze_windows(AnalyzeModel("nobody", time_range=None), live, None, 2)
