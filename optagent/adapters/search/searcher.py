"""Ray Tune's view of a trial store: it asks for parameters and tells what came of them."""

import time
from collections.abc import Callable
from typing import Any

from ray.tune import Stopper
from ray.tune.search import Searcher

from optagent.adapters.search.trial_store import Asked, TrialStore
from optagent.domain.study import Progress, Study, Trial, TrialState


class StudySearcher(Searcher):
    """Runs a study's trials through Tune. `trials` holds those that ended, in that order."""

    def __init__(
        self,
        study: Study,
        store: TrialStore,
        on_trial: Callable[[Trial], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(metric="score", mode="max" if study.maximize else "min")
        self.trials: list[Trial] = []
        self._study = study
        self._store = store
        self._on_trial = on_trial
        self._clock = clock
        self._started_at = clock()
        self._asked = 0
        self._live: dict[str, tuple[Asked, float]] = {}
        self._last: dict[str, dict[str, Any]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._asked >= self._study.trials:
            return Searcher.FINISHED
        self._asked += 1
        asked = self._store.ask()
        self._live[trial_id] = (asked, self._clock())
        return {"family": asked.family, "params": dict(asked.params)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if trial_id in self._live and result.get("state") == "trained":
            self._last[trial_id] = result
            if result["at_rung"]:
                self._store.measure(self._live[trial_id][0], result["units"], result["score"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id not in self._live:
            return
        if result is not None and not error:
            self.on_trial_result(trial_id, result)
        if error or result is None:
            self._end(trial_id, TrialState.FAILED, "the worker died twice on this trial")
        elif result["state"] != "trained":
            self._end(trial_id, TrialState(result["state"]), result["error"])
        else:
            self._end(trial_id, TrialState.COMPLETE if result["finished"] else TrialState.PRUNED)

    def stop_live(self, why: str) -> None:
        """Ends the trials that were running when the search was stopped: pruned where they have a score."""
        for trial_id in list(self._live):
            measured = trial_id in self._last and bool(self._live[trial_id][0].measurements)
            self._end(trial_id, TrialState.PRUNED if measured else TrialState.FAILED, why)

    def progress(self) -> Progress:
        """Where the search stands now."""
        done, elapsed = len(self.trials), self._clock() - self._started_at
        left = self._study.timeout_s - elapsed
        scores = [
            trial.score for trial in self.trials if trial.state is TrialState.COMPLETE and trial.score is not None
        ]
        return Progress(
            trials_done=done,
            trials_total=self._study.trials,
            pruned=sum(trial.state is TrialState.PRUNED for trial in self.trials),
            failed=sum(not trial.state.scored for trial in self.trials),
            running=len(self._live),
            best_score=(max if self._study.maximize else min)(scores) if scores else None,
            elapsed_s=elapsed,
            eta_s=max(0.0, min(left, elapsed / done * (self._study.trials - done))) if done else None,
        )

    def _end(self, trial_id: str, state: TrialState, error: str | None = None) -> None:
        asked, started_at = self._live.pop(trial_id)
        last = self._last.pop(trial_id, {})
        trial = Trial(
            number=asked.number,
            family=asked.family,
            params=asked.params,
            state=state,
            score=last.get("score") if state.scored else None,
            rounds=last.get("rounds", 0),
            units=last.get("units", 0),
            duration_s=self._clock() - started_at,
            error=error,
            measurements=dict(asked.measurements),
        )
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
