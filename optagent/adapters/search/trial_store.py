"""The one store of trials: an Optuna study for each of ours, asked for parameters and told what came of them."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from optagent.adapters.search.samplers import sampler_named
from optagent.domain.space import Categorical, Float, Parameter
from optagent.domain.study import Study, Trial, TrialState
from optagent.errors import Unavailable

_TOLD = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.INFEASIBLE: OptunaState.FAIL,
    TrialState.FAILED: OptunaState.FAIL,
}


def open_storage(url: str | None) -> BaseStorage | None:
    """The Optuna storage at a SQLAlchemy URL, None for none; Unavailable where it cannot be opened."""
    if url is None:
        return None
    try:
        connect = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
        return RDBStorage(url, engine_kwargs=connect)
    except Exception as error:
        raise Unavailable(f"the trial store {_without_password(url)} cannot be opened: {error}") from error


@dataclass(slots=True)
class Asked:
    """A suggestion that is being tried."""

    number: int
    family: str
    params: Mapping[str, Any]
    handle: optuna.Trial
    measurements: dict[int, float] = field(default_factory=dict)


class TrialStore:
    """Ask and tell for one study. A trial that ASHA stops is told as pruned, with its value at every rung.

    (Ray's own `OptunaSearch` reports it as complete with the value of a low rung, which misleads the sampler.)
    The sampler works in memory; a trial that has ended is written to `storage` in one transaction. Sampling straight
    from the storage costs some fifteen transactions a trial.
    """

    def __init__(self, study: Study, storage: BaseStorage | None) -> None:
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._spaces = study.spaces
        self._families = sorted(study.spaces)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = sampler_named(study.sampler, study.seed)
        self._study = _new_study(study, InMemoryStorage(), sampler)
        self._kept = None if storage is None else _new_study(study, storage)
        for family in self._families:
            self._study.enqueue_trial(self._first(family, study.defaults.get(family, {})))

    def ask(self) -> Asked:
        """The next parameters to try; the defaults of each family come first."""
        handle = self._study.ask()
        family = self._families[0]
        if len(self._families) > 1:
            family = handle.suggest_categorical("family", self._families)
        params = {item.name: _suggest(handle, f"{family}.{item.name}", item) for item in self._spaces[family]}
        return Asked(handle.number, family, params, handle)

    def measure(self, asked: Asked, units: int, score: float) -> None:
        """Keeps the score of a trial at one rung."""
        if units not in asked.measurements:
            asked.measurements[units] = score
            asked.handle.report(score, units)

    def tell(self, asked: Asked, trial: Trial) -> None:
        """Keeps what came of a trial; raises Unavailable where the storage does not take it."""
        if trial.error:
            asked.handle.set_user_attr("error", trial.error)
        value = trial.score if trial.state is TrialState.COMPLETE else None
        told = self._study.tell(asked.handle, value, state=_TOLD[trial.state])
        if self._kept is not None:
            try:
                self._kept.add_trial(told)
            except (StorageInternalError, SQLAlchemyError) as error:
                raise Unavailable(f"the trial store does not take trial {trial.number}: {error}") from error

    def _first(self, family: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The family's defaults, less those that its space leaves out."""
        first: dict[str, Any] = {"family": family} if len(self._families) > 1 else {}
        for item in self._spaces[family]:
            if item.name in defaults and _holds(item, defaults[item.name]):
                first[f"{family}.{item.name}"] = defaults[item.name]
        return first


def _new_study(study: Study, storage: BaseStorage, sampler: BaseSampler | None = None) -> optuna.Study:
    direction = StudyDirection.MAXIMIZE if study.maximize else StudyDirection.MINIMIZE
    made = optuna.create_study(study_name=study.study_id, storage=storage, sampler=sampler, direction=direction)
    made.set_user_attr("model_id", study.model_id)
    made.set_user_attr("metric", study.metric)
    return made


def _suggest(handle: optuna.Trial, name: str, item: Parameter) -> Any:
    if isinstance(item, Categorical):
        return handle.suggest_categorical(name, item.choices)
    if isinstance(item, Float):
        return handle.suggest_float(name, item.low, item.high, log=item.log)
    return handle.suggest_int(name, item.low, item.high, log=item.log)


def _holds(item: Parameter, value: Any) -> bool:
    if isinstance(item, Categorical):
        return value in item.choices
    return isinstance(value, int | float) and item.low <= value <= item.high


def _without_password(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
