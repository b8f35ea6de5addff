"""Study history: past studies, read from the Optuna storage that the searches wrote."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optagent.analysis.pareto import front_of
from optagent.analysis.selection_skill import judge_selection
from optagent.codec import decode
from optagent.domain.study import Objective, Trial
from optagent.domain.study_report import StudyReport, StudySummary, can_rank_parameters, summarize
from optagent.errors import InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:  # Optuna takes a while to load, and few commands look at studies
    from optuna.storages import BaseStorage
    from optuna.study._frozen import FrozenStudy


class StudyHistory:
    """Studies in the storage at `url`, opened when it is first read; without a URL there are none.

    Studies that other programs keep in the same storage are ignored.
    """

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._storage: BaseStorage | None = None

    def summaries(self, model_id: str | None = None) -> list[StudySummary]:
        with self._open_readable() as storage:
            newest_first = sorted(_our_studies(storage), key=lambda study: study._study_id, reverse=True)
            return [
                _summarize_study(study, _read_trials(storage, study))
                for study in newest_first
                if model_id is None or study.user_attrs["identity"]["model"] == model_id
            ]

    def study(self, study_id: str) -> StudyReport:
        with self._open_readable() as storage:
            return _report_study(storage, _find_study(storage, study_id))

    def draw(self, study_id: str) -> str:
        import optuna

        from optagent.adapters.pages.study import study_page  # plotly takes a while to load

        with self._open_readable() as storage:
            report = _report_study(storage, _find_study(storage, study_id))
            return study_page(report, optuna.load_study(study_name=study_id, storage=storage))

    @contextmanager
    def _open_readable(self) -> Iterator[BaseStorage]:
        from optuna.exceptions import StorageInternalError
        from optuna.storages import InMemoryStorage
        from redis.exceptions import RedisError
        from sqlalchemy.exc import SQLAlchemyError

        from optagent.adapters.search.trial_storage import open_storage

        with self._lock:
            if self._storage is None:
                self._storage = open_storage(self._url) or InMemoryStorage()
        try:
            yield self._storage
        except (StorageInternalError, SQLAlchemyError, RedisError) as error:
            raise Unavailable(f"the trial store cannot be read: {error}") from error


def _our_studies(storage: BaseStorage) -> list[FrozenStudy]:
    return [study for study in storage.get_all_studies() if "identity" in study.user_attrs]


def _find_study(storage: BaseStorage, study_id: str) -> FrozenStudy:
    for study in _our_studies(storage):
        if study.study_name == study_id:
            return study
    raise NotFound(f"no study {study_id!r}")


def _read_trials(storage: BaseStorage, study: FrozenStudy) -> list[Trial]:
    frozen_trials = storage.get_all_trials(study._study_id, deepcopy=False)
    trials = [trial for frozen_trial in frozen_trials if (trial := _decode_trial(frozen_trial.user_attrs)) is not None]
    return sorted(trials, key=lambda trial: trial.number)


def _decode_trial(attributes: Mapping[str, Any]) -> Trial | None:
    try:
        return decode(Trial, attributes["trial"])
    except (KeyError, InvalidRequest):
        return None


def _summarize_study(study: FrozenStudy, trials: list[Trial]) -> StudySummary:
    identity = study.user_attrs["identity"]
    objectives = tuple(Objective(name, maximize) for name, maximize in identity["objectives"])
    return summarize(study.study_name, identity["model"], objectives, trials)


def _report_study(storage: BaseStorage, study: FrozenStudy) -> StudyReport:
    trials = _read_trials(storage, study)
    summary = _summarize_study(study, trials)
    importances: dict[str, float] = {}
    if can_rank_parameters(trials):
        from optagent.adapters.search.study_importances import importances_of

        importances = importances_of(study.study_name, storage)
    selection = judge_selection(trials, summary.objectives[0].maximize)
    return StudyReport(summary, tuple(trials), importances, front_of(summary.objectives, trials), selection)
