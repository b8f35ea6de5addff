"""Study searcher: Ray Tune's view of a trial store, which asks for parameters and reports the results of trials."""

import logging
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from ray.tune import Stopper
from ray.tune.search import Searcher

from optagent.adapters.search.live_trial import LiveTrial
from optagent.adapters.search.study_trials import StudyTrials
from optagent.adapters.search.trial_store import RunningTrial
from optagent.domain.study import TrialState

LOG = logging.getLogger("optagent.search")
_LOST_WORKERS_A_TRIAL = 1
_HANGS_AFTER_S = 20.0  # beyond its limit: a new worker may still be loading its libraries


class StudySearcher(Searcher):
    """Runs a study's trials through Tune; `on_report` is called once a worker has reported for the first time.

    A trial whose worker was lost is suggested once more, since Tune's own retries do not cover a worker that dies
    between two trials.
    """

    def __init__(self, trials: StudyTrials, on_report: Callable[[], None] = lambda: None) -> None:
        super().__init__(metric="score", mode="max" if trials.study.maximize else "min")
        self._study = trials.study
        self._trials = trials
        self._on_report = on_report
        self._live: dict[str, LiveTrial] = {}
        self._to_retry: list[RunningTrial] = []
        self._losses: Counter[int] = Counter()
        self._refusals = 0
        self.concurrency_limit: Callable[[], int] = lambda: sys.maxsize

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if len(self._live) >= self.concurrency_limit():
            return None
        live = self._trials.begin(self._to_retry.pop(0) if self._to_retry else None)
        if live is None:
            return None if self._live else Searcher.FINISHED  # type: ignore[return-value]  # a string, by Tune's contract
        self._live[trial_id] = live
        return {"family": live.running.family, "params": dict(live.running.params)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._on_report()
        if trial_id in self._live and result.get("state") == "trained":
            self._trials.record(self._live[trial_id], result)

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
        """Ends the trials that are still running when the search ends; those with a measurement count as pruned."""
        for trial_id, live in list(self._live.items()):
            if live.running.measured:
                self._end(trial_id, TrialState.PRUNED, why)
            else:
                self._trials.drop(live)
        self._live.clear()

    def number_of(self, trial_id: str) -> int | None:
        """The study's number of a Tune trial, None once it has ended."""
        live = self._live.get(trial_id)
        return None if live is None else live.running.number

    def overdue(self) -> list[str]:
        """Tune's ids of the trials that have not reported although their time is over."""
        limit = self._study.trial_timeout_s
        if limit is None:
            return []
        now = self._trials.clock()
        return [name for name, live in self._live.items() if now - live.started_at > limit + _HANGS_AFTER_S]

    def give_up(self, trial_id: str) -> None:
        """Ends a trial that hangs; its worker is stopped by the caller."""
        self._end(trial_id, TrialState.INFEASIBLE, f"the trial hung for over {self._study.trial_timeout_s:g} s")

    def _lose(self, trial_id: str) -> None:
        running = self._live[trial_id].running
        if self._refusals:
            self._refusals -= 1
        else:
            self._losses[running.number] += 1
        LOG.warning("%s: the worker of trial %d was lost", self._study.study_id, running.number)
        if self._losses[running.number] > _LOST_WORKERS_A_TRIAL:
            return self._end(trial_id, TrialState.FAILED, "its worker was lost twice: killed, or out of memory")
        self._trials.drop(self._live.pop(trial_id))
        self._to_retry.append(running)

    def _end(self, trial_id: str, state: TrialState, error: str | None = None) -> None:
        trial = self._trials.end(self._live.pop(trial_id), state, error)
        LOG.debug("%s: trial %d %s, score %s, %s", self._study.study_id, trial.number, state, trial.score, trial.params)

    def save(self, checkpoint_path: str) -> None:
        """The trial store is the state; Tune asks for a file."""
        with open(checkpoint_path, "w"):
            pass

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing, as the file holds nothing."""


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
