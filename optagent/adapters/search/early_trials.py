"""Early trials: the first trials of a study, trained by the command's own process while its workers start."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from optagent.adapters.search.live_trial import LiveTrial
from optagent.adapters.search.study_trials import StudyTrials
from optagent.adapters.search.trial_training import TrialTraining
from optagent.domain.study import TrialState
from optagent.training.problem import Problem


class EarlyTrials:
    """A context in which a thread trains one trial after another, until `end_soon` is called; none without a `problem`.

    A trial under way comes to its end, except where `is_over` answers True or the context ends with an error. The
    context raises the error by which its thread has ended.
    """

    def __init__(self, trials: StudyTrials, problem: Problem | None, is_over: Callable[[], bool]) -> None:
        self._trials = trials
        self._problem = problem
        self._is_over = is_over
        self._is_lost = False
        self._last = threading.Event()
        self._work: Future[None] | None = None

    def __enter__(self) -> "EarlyTrials":
        if self._problem is not None:
            thread = ThreadPoolExecutor(1, thread_name_prefix="early-trials")
            self._work = thread.submit(self.run, TrialTraining(self._trials.study, self._problem))
            thread.shutdown(wait=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._last.set()
        self._is_lost = kind is not None
        if self._work is not None and kind is None:
            self._work.result()

    def end_soon(self) -> None:
        """Lets no other trial begin."""
        self._last.set()

    @property
    def is_running(self) -> bool:
        """True while a trial is in training here, or another will be."""
        return self._work is not None and not self._work.done()

    def run(self, training: TrialTraining) -> None:
        """Trains in the caller's thread."""
        while not (self._last.is_set() or self._must_end()):
            live = self._trials.begin()
            if live is None:
                return
            training.begin(live.running.family, live.running.params)
            self._train(live, training)

    def _train(self, live: LiveTrial, training: TrialTraining) -> None:
        while True:
            result = training.step(self._must_end)
            if result["state"] != "trained":
                self._trials.end(live, TrialState(result["state"]), result["error"])
                return
            self._trials.record(live, result)
            if self._end_if_due(live):
                return

    def _end_if_due(self, live: LiveTrial) -> bool:
        """True where a trial has come to its end by its last report."""
        result = live.last_result
        if result["finished"]:
            self._trials.end(live, TrialState.COMPLETE)
        elif result["at_rung"] and not self._goes_on(live):
            self._trials.end(live, TrialState.PRUNED)
        elif not self._must_end():
            return False
        elif live.running.measured:
            self._trials.end(live, TrialState.PRUNED, "the search was ended first")
        else:
            self._trials.drop(live)
        return True

    def _must_end(self) -> bool:
        return self._is_lost or self._is_over()

    def _goes_on(self, live: LiveTrial) -> bool:
        result = live.last_result
        return self._trials.should_continue(live.running.number, result["units"], result["values"])
