"""Study trials: those of one run of a search, begun and ended by whoever trains them, in any thread."""

import threading
import time
from collections.abc import Callable, Sequence

from optagent.adapters.search.live_trial import LiveTrial
from optagent.adapters.search.successive_halving import EarlyStopping
from optagent.adapters.search.trial_store import RunningTrial, TrialStore
from optagent.domain.study import Progress, Study, Trial, TrialState, progress_of
from optagent.training.best_predictions import BestPredictions


class StudyTrials:
    """Asks a store for parameters, judges trials at their rungs, and keeps what comes of them.

    `ended` holds the trials that have ended in the order of their ends, those of earlier runs of the study first.
    """

    def __init__(
        self,
        study: Study,
        store: TrialStore,
        on_trial: Callable[[Trial], None] = lambda trial: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.study = study
        self.clock = clock
        self.ended: list[Trial] = list(store.earlier_trials)
        self.best_predictions = BestPredictions(study)
        self._store = store
        self._on_trial = on_trial
        self._started_at = clock()
        self._running = 0
        self._lock = threading.RLock()
        signs = [objective.sign for objective in study.objectives]
        self._stopping = EarlyStopping(study.stopping, study.budget.rungs, study.budget.reduction_factor, signs)
        for trial in self.ended:
            complete = trial.state is TrialState.COMPLETE
            self._stopping.restore(trial.number, store.measured.get(trial.number, {}), complete)

    def begin(self, again: RunningTrial | None = None) -> LiveTrial | None:
        """The next trial, or the one to train `again`; None where every trial was asked or the budget is spent."""
        with self._lock:
            if again is None and self.is_exhausted:
                return None
            self._running += 1
            return LiveTrial(again or self._store.ask(), self.clock())

    @property
    def is_exhausted(self) -> bool:
        """True where every trial of the study was asked, or those that have ended took all its core-seconds."""
        spent_s = sum(trial.duration_s for trial in self.ended) * self.study.cpus_per_trial
        limit_s = self.study.max_cpu_s
        return self._store.is_exhausted or (limit_s is not None and spent_s >= limit_s)

    def record(self, live: LiveTrial, result: dict[str, object]) -> None:
        """Takes in a report of a training that goes well."""
        with self._lock:
            live.record(result, self._store)

    def should_continue(self, number: int, units: int, values: Sequence[float]) -> bool:
        """True where a trial with these objectives at a rung is worth more training."""
        with self._lock:
            return self._stopping.should_continue(number, units, values)

    def drop(self, live: LiveTrial) -> None:
        """Forgets that a trial is in training: it is trained again later, or never."""
        with self._lock:
            self._running -= 1

    def end(self, live: LiveTrial, state: TrialState, error: str | None = None) -> Trial:
        """The trial as it has ended, told to the store and to whom it concerns."""
        with self._lock:
            self._running -= 1
            trial = live.end(self.study, state, self.clock(), error)
            self._store.tell(live.running, trial)
            self.ended.append(trial)
            if state is TrialState.COMPLETE:
                self._stopping.mark_complete(trial.number)
                if trial.score is not None:
                    self.best_predictions.add(trial, live.last_result["predictions"].take())
            self._on_trial(trial)
            return trial

    def progress(self) -> Progress:
        """The progress of the search now."""
        with self._lock:
            return progress_of(self.study, self.ended, self._running, self.clock() - self._started_at)
