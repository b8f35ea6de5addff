"""Ray Tune's view of a trial store: it asks for parameters and tells what came of them."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ray.tune import Stopper
from ray.tune.search import Searcher

from optagent.adapters.search.trial_store import RunningTrial, TrialStore
from optagent.domain.study import Progress, Study, Trial, TrialState, progress_of

LOG = logging.getLogger("optagent.search")
_LOST_WORKERS_A_TRIAL = 1
_HANGS_AFTER_S = 20.0  # beyond its limit: a new worker may still be loading its libraries


@dataclass(slots=True)
class _Live:
    """A suggestion on a worker, and the last that the worker said of it."""

    asked: RunningTrial
    started_at: float
    last: dict[str, Any] = field(default_factory=dict)


class StudySearcher(Searcher):
    """Runs a study's trials through Tune. `trials` holds those that ended, in that order.

    A trial whose worker was lost is suggested once more. (Tune's own retries do not cover a worker that dies between
    two trials.)
    """

    def __init__(
        self,
        study: Study,
        store: TrialStore,
        on_trial: Callable[[Trial], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(metric="score", mode="max" if study.maximize else "min")
        self.trials: list[Trial] = list(store.kept)
        self.measured = store.measured
        self._study = study
        self._store = store
        self._on_trial = on_trial
        self._clock = clock
        self._started_at = clock()
        self._live: dict[str, _Live] = {}
        self._again: list[RunningTrial] = []
        self._lost: Counter[int] = Counter()
        self._refusals = 0
        self.most_at_once: Callable[[], int] = lambda: sys.maxsize

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if len(self._live) >= self.most_at_once():
            return None
        if self._again:
            asked = self._again.pop(0)
        elif not self._store.exhausted and not self._too_dear():
            asked = self._store.ask()
        elif self._live:
            return None
        else:
            return Searcher.FINISHED  # type: ignore[return-value]  # a string, by Tune's own contract
        self._live[trial_id] = _Live(asked, self._clock())
        return {"family": asked.family, "params": dict(asked.params)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if trial_id in self._live and result.get("state") == "trained":
            live = self._live[trial_id]
            live.last = result
            if result["at_rung"]:
                self._store.measure(live.asked, result["units"], tuple(result["values"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id not in self._live:
            return
        if error or result is None:
            return self._lose(trial_id)
        self.on_trial_result(trial_id, result)
        if result["state"] != "trained":
            self._refusals += result["spent"]  # its worker refuses the next trial, whose loss says nothing about it
            self._end(trial_id, TrialState(result["state"]), result["error"])
        else:
            self._end(trial_id, TrialState.COMPLETE if result["finished"] else TrialState.PRUNED)

    def stop_live(self, why: str) -> None:
        """Ends the trials that were running when the search ended: one that was measured counts as pruned."""
        for trial_id, live in list(self._live.items()):
            if live.asked.measured:
                self._end(trial_id, TrialState.PRUNED, why)
        self._live.clear()

    def number_of(self, trial_id: str) -> int | None:
        """The study's number of a Tune trial, None once it has ended."""
        live = self._live.get(trial_id)
        return None if live is None else live.asked.number

    def overdue(self) -> list[str]:
        """Tune's ids of the trials that say nothing although their time is over."""
        limit = self._study.trial_timeout_s
        if limit is None:
            return []
        now = self._clock()
        return [name for name, live in self._live.items() if now - live.started_at > limit + _HANGS_AFTER_S]

    def give_up(self, trial_id: str) -> None:
        """Ends a trial that hangs; its worker is stopped by the caller."""
        self._end(trial_id, TrialState.INFEASIBLE, f"the trial hung for over {self._study.trial_timeout_s:g} s")

    def _too_dear(self) -> bool:
        limit = self._study.max_cpu_s
        spent = sum(trial.duration_s for trial in self.trials) * self._study.cpus_per_trial
        return limit is not None and spent >= limit

    def progress(self) -> Progress:
        """Where the search stands now."""
        return progress_of(self._study, self.trials, len(self._live), self._clock() - self._started_at)

    def _lose(self, trial_id: str) -> None:
        asked = self._live[trial_id].asked
        if self._refusals:
            self._refusals -= 1
        else:
            self._lost[asked.number] += 1
        LOG.warning("%s: the worker of trial %d was lost", self._study.study_id, asked.number)
        if self._lost[asked.number] > _LOST_WORKERS_A_TRIAL:
            return self._end(trial_id, TrialState.FAILED, "its worker was lost twice: killed, or out of memory")
        del self._live[trial_id]
        self._again.append(asked)

    def _end(self, trial_id: str, state: TrialState, error: str | None = None) -> None:
        live = self._live.pop(trial_id)
        asked, last = live.asked, live.last
        values = asked.measured[max(asked.measured)][1:] if asked.measured else ()
        others = dict(zip((objective.name for objective in self._study.others), values, strict=False))
        trial = Trial(
            number=asked.number,
            family=asked.family,
            params=asked.params,
            state=state,
            score=last.get("score") if state.has_score else None,
            rounds=last.get("rounds", 0),
            units=last.get("units", 0),
            duration_s=self._clock() - live.started_at,
            error=error,
            measurements={units: values[0] for units, values in asked.measured.items()},
            others=others,
        )
        LOG.debug("%s: trial %d %s, score %s, %s", self._study.study_id, trial.number, state, trial.score, trial.params)
        self._store.tell(asked, trial)
        self.trials.append(trial)
        self._on_trial(trial)

    def save(self, checkpoint_path: str) -> None:
        """The trial store is the state; Tune asks for a file."""
        with open(checkpoint_path, "w"):
            pass

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept in the file."""


class StopWhen(Stopper):
    """Ends a Tune run when `look`, which Tune calls after each of its steps, answers True."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._look()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its state when it starts; what `look` holds is not part of it."""
        return {}
