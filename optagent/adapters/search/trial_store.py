"""Trial store: an Optuna study for each of our studies, asked for parameters and told the results of trials."""

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from optagent.adapters.search.samplers import sampler_named
from optagent.adapters.search.starting_points import StartingPoints
from optagent.adapters.search.transfer import Transfer, find_good_parameters
from optagent.adapters.search.trial_storage import NewStorage, open_storage
from optagent.adapters.search.trial_values import MEASURED
from optagent.adapters.search.trial_writer import TrialWriter
from optagent.codec import decode, encode, plain
from optagent.domain.space import Categorical, Float, Parameter
from optagent.domain.study import Study, Trial, TrialState
from optagent.errors import Conflict

_OPTUNA_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.INFEASIBLE: OptunaState.FAIL,
    TrialState.FAILED: OptunaState.FAIL,
}


@dataclass(slots=True)
class RunningTrial:
    """A trial that is running; `measured` holds every objective at each rung, the metric first."""

    number: int
    family: str
    params: Mapping[str, Any]
    handle: optuna.Trial
    measured: dict[int, tuple[float, ...]] = field(default_factory=dict)


class TrialStore:
    """Ask and tell for one study. A trial that is stopped early is told as pruned, with its value at every rung.

    (Ray's own `OptunaSearch` reports it as complete with the value of a low rung, which misleads the sampler.)
    The sampler works in memory; a thread writes each trial that has ended to `storage`, in one transaction. Sampling
    straight from the storage costs some fifteen transactions a trial, and waiting for the one some 10 ms. A study that
    is in the storage already is resumed: `earlier_trials` are its trials, and only the missing numbers are asked.
    Raises Conflict where that study was made of something else.
    """

    def __init__(self, study: Study, storage: BaseStorage | NewStorage | None) -> None:
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._spaces = study.spaces
        self._families = sorted(study.spaces)
        self._several = len(study.objectives) > 1
        self._storage = None if isinstance(storage, NewStorage) else storage
        durable = None if self._storage is None else _open_study(study, self._storage)
        earlier = [] if durable is None else durable.get_trials(deepcopy=False)
        self.earlier_trials = [decode(Trial, trial.user_attrs["trial"]) for trial in earlier]
        self.measured = {
            trial.number: _decode_measurements(frozen)
            for trial, frozen in zip(self.earlier_trials, earlier, strict=True)
        }
        self._study = _memory_study(study, earlier)
        self._unasked = sorted(set(range(study.trials)) - {trial.number for trial in self.earlier_trials}, reverse=True)
        first = [self._to_optuna(family, params) for family, params in study.first_trials]
        for number in sorted(self._unasked):
            if number < len(first):
                self._study.enqueue_trial(first[number])
        self._transfer = self._build_transfer(study, first)
        self._starting_points = self._build_starting_points(study, first)
        self._writer = None if storage is None else TrialWriter(lambda: durable or _make_study(study, storage))

    @property
    def is_exhausted(self) -> bool:
        """True where every trial of the study was asked."""
        return not self._unasked

    def ask(self) -> RunningTrial:
        """The next parameters to try: the champion's and the defaults of each family; then those that were good in
        earlier searches, starting points, and the sampler's own."""
        number = self._unasked.pop()
        known = self._transfer.next(number) or self._starting_points.next(number)
        if known is not None:
            self._study.enqueue_trial(known)
        handle = self._study.ask()
        family = self._families[0]
        if len(self._families) > 1:
            family = handle.suggest_categorical("family", self._families)
        params = {item.name: _suggest(handle, f"{family}.{item.name}", item) for item in self._spaces[family]}
        return RunningTrial(number, family, params, handle)

    def measure(self, running: RunningTrial, units: int, values: tuple[float, ...]) -> None:
        """Stores the objectives of a trial at one rung."""
        if units not in running.measured:
            running.measured[units] = values
            if not self._several:  # Optuna keeps no intermediate values of several objectives
                running.handle.report(values[0], units)

    def tell(self, running: RunningTrial, trial: Trial) -> None:
        """Stores the result of a trial; raises Unavailable where the storage did not take an earlier one."""
        self._transfer.record(trial)
        self._starting_points.record(trial)
        running.handle.set_user_attr("trial", encode(trial).decode())
        running.handle.set_user_attr(MEASURED, json.dumps(running.measured))
        if trial.error:
            running.handle.set_user_attr("error", trial.error)
        values = None
        if trial.state is TrialState.COMPLETE and trial.score is not None:
            values = [trial.score, *trial.others.values()]
        frozen = self._study.tell(running.handle, values, state=_OPTUNA_STATES[trial.state])
        if self._writer is not None:
            self._writer.add(frozen)

    def close(self) -> None:
        """Waits until every trial is in the storage; raises Unavailable where it did not take one."""
        if self._writer is not None:
            self._writer.close()

    def _to_optuna(self, family: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters under their names in the Optuna study, without those that are outside of the space."""
        optuna_params: dict[str, Any] = {"family": family} if len(self._families) > 1 else {}
        for item in self._spaces[family]:
            if item.name in params and _contains(item, params[item.name]):
                optuna_params[f"{family}.{item.name}"] = params[item.name]
        return optuna_params

    def _build_transfer(self, study: Study, first: list[dict[str, Any]]) -> Transfer:
        good = find_good_parameters(study, self._storage) if study.transfer and self._storage is not None else []
        candidates = [self._to_optuna(family, params) for family, params in good]
        return Transfer(
            [params for params in candidates if params not in first], after=len(first), maximize=study.maximize
        )

    def _build_starting_points(self, study: Study, first: list[dict[str, Any]]) -> StartingPoints:
        points = [(family, self._to_optuna(family, params)) for family, params in study.starting_points]
        known = [*first, *(trial.params for trial in self._study.get_trials(deepcopy=False))]
        new = [(family, params) for family, params in points if not any(params.items() <= one.items() for one in known)]
        return StartingPoints(new, after=len(first), trials=study.trials)


def _make_study(study: Study, storage: BaseStorage | NewStorage) -> optuna.Study:
    made = open_storage(storage.url) if isinstance(storage, NewStorage) else storage
    assert made is not None, "a URL names a storage"
    return _open_study(study, made)


def _open_study(study: Study, storage: BaseStorage) -> optuna.Study:
    durable = optuna.create_study(
        study_name=study.study_id, storage=storage, directions=_directions(study), load_if_exists=True
    )
    identity = _identity(study)
    stored = durable.user_attrs.get("identity")
    if stored is None:
        durable.set_user_attr("identity", identity)
        return durable
    changed = sorted(name for name in identity if stored.get(name) != identity[name])
    if changed:
        raise Conflict(f"study {study.study_id} was made with another {', '.join(changed)}: start a new search")
    return durable


def _identity(study: Study) -> dict[str, Any]:
    """The properties of a study that may not change when it is resumed."""
    objectives = [[objective.name, objective.maximize] for objective in study.objectives]
    spaces = {family: [plain(item) for item in space] for family, space in sorted(study.spaces.items())}
    identity = {"model": study.model_id, "objectives": objectives, "spaces": spaces, "data": study.data_digest}
    return dict(json.loads(json.dumps(identity)))


def _memory_study(study: Study, earlier: list[FrozenTrial]) -> optuna.Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # A resumed study gets another seed: with the same one it would repeat its first suggestions.
        sampler = sampler_named(study.sampler, study.seed + len(earlier))
    memory = optuna.create_study(storage=InMemoryStorage(), sampler=sampler, directions=_directions(study))
    memory.add_trials(earlier)
    return memory


def _directions(study: Study) -> list[StudyDirection]:
    larger, smaller = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
    return [larger if objective.maximize else smaller for objective in study.objectives]


def _decode_measurements(frozen: FrozenTrial) -> dict[int, tuple[float, ...]]:
    measurements = json.loads(frozen.user_attrs.get(MEASURED, "{}"))
    return {int(units): tuple(values) for units, values in measurements.items()}


def _suggest(handle: optuna.Trial, name: str, item: Parameter) -> Any:
    if isinstance(item, Categorical):
        return handle.suggest_categorical(name, item.choices)
    if isinstance(item, Float):
        return handle.suggest_float(name, item.low, item.high, log=item.log)
    return handle.suggest_int(name, item.low, item.high, log=item.log)


def _contains(item: Parameter, value: Any) -> bool:
    if isinstance(item, Categorical):
        return value in item.choices
    return isinstance(value, int | float) and item.low <= value <= item.high
