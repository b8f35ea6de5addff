"""Past studies, read from the Optuna storage that the searches wrote."""

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study._frozen import FrozenStudy
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from optagent.adapters.search.trial_store import open_storage
from optagent.analysis.pareto import front_of
from optagent.codec import decode
from optagent.domain.study import Objective, Trial
from optagent.domain.study_report import StudyReport, StudySummary, summarize, tells_parameters_apart
from optagent.errors import InvalidRequest, NotFound, Unavailable

_TOP_SHARE, _TOP_TRIALS = 0.1, 5


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

    def draw(self, study_id: str, folder: Path) -> list[Path]:
        from optagent.adapters.search.study_page import study_page  # plotly takes a while to load

        with self._reading() as storage:
            report = _report(storage, _named(storage, study_id))
            page = study_page(report, optuna.load_study(study_name=study_id, storage=storage))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "study.html"
        path.write_text(page, encoding="utf-8")
        return [path]

    @contextmanager
    def _reading(self) -> Iterator[BaseStorage]:
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
    if tells_parameters_apart(trials):
        importances = _importances(optuna.load_study(study_name=kept.study_name, storage=storage))
    return StudyReport(summary, tuple(trials), importances, front_of(summary.objectives, trials))


def _importances(study: optuna.Study) -> dict[str, float]:
    """By PED-ANOVA for conditional spaces (arXiv:2601.20800): what sets the best trials apart from all complete ones.

    fANOVA looks only at parameters that every trial has, of which there are none but `family` with two families. The
    method wants five trials among the best, so fewer than 50 trials are given a larger share of best ones.
    """
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    share = min(0.5, max(_TOP_SHARE, _TOP_TRIALS / len(complete)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few trials, or as good as no difference: then they come out empty or vague
        found = PedAnovaImportanceEvaluator(target_quantile=share).evaluate(study)
    total = sum(found.values())
    if not total > 0:
        return {}
    return {name: found[name] / total for name in sorted(found, key=lambda name: (-found[name], name))}
