"""Live trial: one that is being trained, with its newest report, and the trial that it becomes once it ends."""

from dataclasses import dataclass, field
from typing import Any

from optagent.adapters.search.trial_store import RunningTrial, TrialStore
from optagent.domain.study import Study, Trial, TrialState


@dataclass(slots=True)
class LiveTrial:
    """A trial in training since `started_at`, the last report of its training, and its gains at the last rung."""

    running: RunningTrial
    started_at: float
    last_result: dict[str, Any] = field(default_factory=dict)
    block_gains: tuple[float, ...] = ()

    def record(self, result: dict[str, Any], store: TrialStore) -> None:
        """Takes in a report of a training that goes well; the store keeps its objectives at a rung."""
        self.last_result = result
        if result["at_rung"]:
            store.measure(self.running, result["units"], tuple(result["values"]))
            self.block_gains = tuple(result.get("block_gains", ()))

    def end(self, study: Study, state: TrialState, now: float, error: str | None = None) -> Trial:
        """The trial as it ends."""
        running, result = self.running, self.last_result
        values = running.measured[max(running.measured)][1:] if running.measured else ()
        others = dict(zip((objective.name for objective in study.others), values, strict=False))
        return Trial(
            number=running.number,
            family=running.family,
            params=running.params,
            state=state,
            score=result.get("score") if state.has_score else None,
            rounds=result.get("rounds", 0),
            units=result.get("units", 0),
            duration_s=result.get("seconds", now - self.started_at),  # a new worker loads its libraries first
            error=error,
            measurements={units: values[0] for units, values in running.measured.items()},
            others=others,
            block_gains=self.block_gains if state.has_score else (),
        )
