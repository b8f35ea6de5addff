"""Early trials: the first trials of a study, trained by the command's own process while its workers start."""

import time
from collections.abc import Callable

from optagent.adapters.search.live_trial import LiveTrial, is_over_budget
from optagent.adapters.search.successive_halving import EarlyStopping
from optagent.adapters.search.trial_store import RunningTrial, TrialStore
from optagent.adapters.search.trial_training import TrialTraining
from optagent.domain.study import Progress, Study, Trial, TrialState, progress_of
from optagent.training.best_predictions import BestPredictions

_ENDS_WITHIN_S = 1.0
_LOOK_EVERY_S = 0.1


class EarlyTrials:
    """Trains trials one after another. They join `earlier_trials` of the store, as those of a resumed study are in it.

    A trial that has taken over a second when the workers are ready is left to them, as `unfinished`: it begins anew.
    """

    def __init__(
        self,
        study: Study,
        store: TrialStore,
        on_trial: Callable[[Trial], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unfinished: RunningTrial | None = None
        self.best_predictions = BestPredictions(study)
        self.started_at = clock()
        self._study = study
        self._store = store
        self._on_trial = on_trial
        self._clock = clock
        signs = [objective.sign for objective in study.objectives]
        self._stopping = EarlyStopping(study.stopping, study.budget.rungs, study.budget.reduction_factor, signs)
        for trial in store.earlier_trials:
            complete = trial.state is TrialState.COMPLETE
            self._stopping.restore(trial.number, store.measured.get(trial.number, {}), complete)

    @property
    def trials(self) -> list[Trial]:
        """The trials of the study that have ended, those of earlier runs included."""
        return self._store.earlier_trials

    def progress(self) -> Progress:
        """The progress of the search now."""
        return progress_of(self._study, self.trials, 1, self._clock() - self.started_at)

    def run(self, training: TrialTraining, is_ready: Callable[[], bool], is_over: Callable[[], bool]) -> None:
        """Trains until the workers are ready, the search is over, or every trial was asked."""
        look = _Seldom(is_ready, self._clock)
        while not (look() or is_over() or self._store.is_exhausted or is_over_budget(self._study, self.trials)):
            live = LiveTrial(self._store.ask(), self._clock())
            training.begin(live.running.family, live.running.params)
            self._train(live, training, look, is_over)

    def _train(
        self, live: LiveTrial, training: TrialTraining, is_ready: Callable[[], bool], is_over: Callable[[], bool]
    ) -> None:
        def is_left() -> bool:
            return self._clock() - live.started_at > _ENDS_WITHIN_S and is_ready()

        while True:
            result = training.step(lambda: is_over() or is_left())
            if result["state"] != "trained":
                return self._end(live, TrialState(result["state"]), result["error"])
            live.record(result, self._store)
            if result["finished"]:
                self._stopping.mark_complete(live.running.number)
                return self._end(live, TrialState.COMPLETE)
            if result["at_rung"] and not self._goes_on(live):
                return self._end(live, TrialState.PRUNED)
            if is_over():
                if live.running.measured:
                    self._end(live, TrialState.PRUNED, "the search was ended first")
                return None
            if is_left():
                self.unfinished = live.running
                return None

    def _goes_on(self, live: LiveTrial) -> bool:
        result = live.last_result
        return self._stopping.should_continue(live.running.number, result["units"], result["values"])

    def _end(self, live: LiveTrial, state: TrialState, error: str | None = None) -> None:
        trial = live.end(self._study, state, self._clock(), error)
        self._store.tell(live.running, trial)
        self._store.earlier_trials.append(trial)
        self._store.measured[trial.number] = live.running.measured
        if state is TrialState.COMPLETE and trial.score is not None:
            self.best_predictions.add(trial, live.last_result["predictions"].take())
        self._on_trial(trial)


class _Seldom:
    """An answer that is asked for ten times a second at most, and for good once it is True."""

    def __init__(self, ask: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._next = float("-inf")
        self._answer = False

    def __call__(self) -> bool:
        now = self._clock()
        if not self._answer and now >= self._next:
            self._next = now + _LOOK_EVERY_S
            self._answer = self._ask()
        return self._answer
