"""Trial scheduler: Ray Tune's hook for the rules of `successive_halving`, for one objective or several."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ray
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from optagent.adapters.search.searcher import StudySearcher
from optagent.adapters.search.study_trials import StudyTrials

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial


class StudyScheduler(FIFOScheduler):
    """Stops poor trials at the rungs, those that hang, and all of them once `is_over` answers True.

    (Tune's own ASHA knows one objective, and forgets its rungs when a search is resumed.)
    """

    def __init__(
        self, trials: StudyTrials, searcher: StudySearcher, is_over: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._trials = trials
        self._searcher = searcher
        self._is_over = is_over

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """True, without effect: the study names its objectives itself."""
        return True

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        if result.get("state") != "trained" or not result["at_rung"] or result["finished"]:
            return TrialScheduler.CONTINUE
        number = self._searcher.number_of(trial.trial_id)
        if number is None:
            return TrialScheduler.STOP
        should_continue = self._trials.should_continue(number, result["units"], result["values"])
        return TrialScheduler.CONTINUE if should_continue else TrialScheduler.STOP

    def choose_trial_to_run(self, tune_controller: "TuneController") -> "Trial | None":
        """The next trial to run; stops trials that hang on the way, since Tune calls this at each of its steps."""
        if self._is_over():
            self._stop_all(tune_controller)
            return None
        overdue = set(self._searcher.overdue())
        live = list(tune_controller.get_live_trials()) if overdue else []  # type: ignore[no-untyped-call]
        for trial in live:
            if trial.trial_id in overdue:
                self._searcher.give_up(trial.trial_id)
                tune_controller.stop_trial(trial)  # type: ignore[no-untyped-call]
        trial_to_run: Trial | None = super().choose_trial_to_run(tune_controller)
        return trial_to_run

    def _stop_all(self, tune_controller: "TuneController") -> None:
        """Stops every trial with its worker: Tune would wait up to 15 s for a training step under way."""
        self._searcher.stop_live("the search was ended first")
        for trial in list(tune_controller.get_live_trials()):  # type: ignore[no-untyped-call]
            worker = trial.temporary_state.ray_actor
            tune_controller.stop_trial(trial)  # type: ignore[no-untyped-call]
            if worker is not None:
                ray.kill(worker)
