"""Past studies, read from the Optuna storage that the searches wrote."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optagent.analysis.pareto import front_of
from optagent.codec import decode
from optagent.domain.study import Objective, Trial
from optagent.domain.study_report import StudyReport, StudySummary, can_rank_parameters, summarize
from optagent.errors import InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:  # Optuna takes a while to load, and few commands look at studies
    from optuna.storages import BaseStorage
    from optuna.study._frozen import FrozenStudy


class StudyHistory:
    """Studies in the storage at `url`, opened when it is first read; without a URL there are none.

    What others keep in the same storage is passed over.
    """

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._storage: BaseStorage | None = None

    def summaries(self, model_id: str | None = None) -> list[StudySummary]:
        with self._reading() as storage:
            newest_first = sorted(_ours(storage), key=lambda kept: kept._study_id, reverse=True)
            return [
                _summary(kept, _trials(storage, kept))
                for kept in newest_first
                if model_id is None or kept.user_attrs["identity"]["model"] == model_id
            ]

    def study(self, study_id: str) -> StudyReport:
        with self._reading() as storage:
            return _report(storage, _named(storage, study_id))

    def draw(self, study_id: str) -> str:
        import optuna

        from optagent.adapters.pages.study import study_page  # plotly takes a while to load

        with self._reading() as storage:
            report = _report(storage, _named(storage, study_id))
            return study_page(report, optuna.load_study(study_name=study_id, storage=storage))

    @contextmanager
    def _reading(self) -> Iterator[BaseStorage]:
        from optuna.exceptions import StorageInternalError
        from optuna.storages import InMemoryStorage
        from redis.exceptions import RedisError
        from sqlalchemy.exc import SQLAlchemyError

        from optagent.adapters.search.trial_store import open_storage

        with self._lock:
            if self._storage is None:
                self._storage = open_storage(self._url) or InMemoryStorage()
        try:
            yield self._storage
        except (StorageInternalError, SQLAlchemyError, RedisError) as error:
            raise Unavailable(f"the trial store cannot be read: {error}") from error


def _ours(storage: BaseStorage) -> list[FrozenStudy]:
    return [kept for kept in storage.get_all_studies() if "identity" in kept.user_attrs]


def _named(storage: BaseStorage, study_id: str) -> FrozenStudy:
    for kept in _ours(storage):
        if kept.study_name == study_id:
            return kept
    raise NotFound(f"no study {study_id!r}")


def _trials(storage: BaseStorage, kept: FrozenStudy) -> list[Trial]:
    frozen = storage.get_all_trials(kept._study_id, deepcopy=False)
    found = [trial for one in frozen if (trial := _trial(one.user_attrs)) is not None]
    return sorted(found, key=lambda trial: trial.number)


def _trial(attributes: Mapping[str, Any]) -> Trial | None:
    try:
        return decode(Trial, attributes["trial"])
    except (KeyError, InvalidRequest):
        return None


def _summary(kept: FrozenStudy, trials: list[Trial]) -> StudySummary:
    identity = kept.user_attrs["identity"]
    objectives = tuple(Objective(name, maximize) for name, maximize in identity["objectives"])
    return summarize(kept.study_name, identity["model"], objectives, trials)


def _report(storage: BaseStorage, kept: FrozenStudy) -> StudyReport:
    trials = _trials(storage, kept)
    summary = _summary(kept, trials)
    importances: dict[str, float] = {}
    if can_rank_parameters(trials):
        from optagent.adapters.search.study_importances import importances_of

        importances = importances_of(kept.study_name, storage)
    return StudyReport(summary, tuple(trials), importances, front_of(summary.objectives, trials))
