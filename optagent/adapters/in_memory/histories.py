"""Histories in memory: the series of plans in plain dictionaries, for tests and for agents without Redis."""

from collections.abc import Sequence

from optagent.training.history.plan import HistoryPlan
from optagent.training.history.state import Past, PastRow, SeriesState, kept_rows, no_past


class InMemoryHistories:
    """Keeps at most so many rows of a plan in all."""

    def __init__(self, most_rows: int = 1_000_000) -> None:
        self._most_rows = most_rows
        self._series: dict[tuple[str, str], dict[str, SeriesState]] = {}
        self._seeded: set[tuple[str, str]] = set()

    async def pasts(self, model_id: str, plan: HistoryPlan, rows: Sequence[tuple[str, float]]) -> list[Past]:
        series = self._series.get((model_id, plan.digest), {})
        return [series[name].before(time, plan) if name in series else no_past(plan) for name, time in rows]

    async def keep(self, model_id: str, plan: HistoryPlan, rows: Sequence[tuple[str, PastRow]]) -> None:
        series = self._series.setdefault((model_id, plan.digest), {})
        for name, row in rows:
            state = series.pop(name, None) or SeriesState(kept_rows(plan))
            series[name] = state
            state.add(row)
        while sum(map(len, series.values())) > self._most_rows:
            del series[next(iter(series))]

    async def is_seeded(self, model_id: str, plan: HistoryPlan) -> bool:
        return (model_id, plan.digest) in self._seeded

    async def mark_seeded(self, model_id: str, plan: HistoryPlan) -> None:
        self._seeded.add((model_id, plan.digest))

    async def close(self) -> None:
        return None
