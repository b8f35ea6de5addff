"""Ray Tune's scheduler over the pure rule of `analysis.halving`, for one objective or several."""

from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from optagent.adapters.search.searcher import StudySearcher
from optagent.adapters.search.successive_halving import EarlyStopping
from optagent.domain.study import Study, TrialState

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial


class StudyScheduler(FIFOScheduler):
    """Stops poor trials at the rungs, and those that hang. (Tune's own ASHA knows one objective, and forgets its rungs
    when a search is resumed.)"""

    def __init__(self, study: Study, searcher: StudySearcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        signs = [objective.sign for objective in study.objectives]
        self._rungs = EarlyStopping(study.stopping, study.budget.rungs, study.budget.reduction_factor, signs)
        self._searcher = searcher
        for ended in searcher.trials:
            complete = ended.state is TrialState.COMPLETE
            self._rungs.recall(ended.number, searcher.measured.get(ended.number, {}), complete)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """The study names its objectives itself."""
        return True

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        if result.get("state") != "trained" or not result["at_rung"] or result["finished"]:
            return TrialScheduler.CONTINUE
        number = self._searcher.number_of(trial.trial_id)
        if number is None:
            return TrialScheduler.STOP
        goes_on = self._rungs.goes_on(number, result["units"], result["values"])
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> None:
        """Tune tells its scheduler first, so the searcher still knows the trial's number."""
        number = self._searcher.number_of(trial.trial_id)
        if number is not None and result.get("finished"):
            self._rungs.complete(number)

    def choose_trial_to_run(self, tune_controller: "TuneController") -> "Trial | None":
        """Tune asks at each of its steps, which is also the time to look for trials that hang."""
        overdue = set(self._searcher.overdue())
        live = list(tune_controller.get_live_trials()) if overdue else []  # type: ignore[no-untyped-call]
        for trial in live:
            if trial.trial_id in overdue:
                self._searcher.give_up(trial.trial_id)
                tune_controller.stop_trial(trial)  # type: ignore[no-untyped-call]
        chosen: Trial | None = super().choose_trial_to_run(tune_controller)
        return chosen
