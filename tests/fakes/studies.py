"""Fake studies: the `Studies` port over given studies."""

import statistics
from collections.abc import Sequence
from typing import Any

from optagent.adapters.pages.page import sections_page
from optagent.analysis.pareto import front_of
from optagent.analysis.report.parts import Section, Table
from optagent.domain.study import SearchOutcome, Study, Trial, TrialState
from optagent.domain.study_report import StudyReport, StudySummary, can_rank_parameters, summarize
from optagent.errors import NotFound


class InMemoryStudies:
    """Studies in the order in which they were added."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Study, SearchOutcome]] = {}

    def add(self, study: Study, outcome: SearchOutcome) -> None:
        """Keeps a study, or replaces it by its newer state."""
        self._kept[study.study_id] = (study, outcome)

    def summaries(self, model_id: str | None = None) -> list[StudySummary]:
        newest_first = list(self._kept.values())[::-1]
        return [_summary(*kept) for kept in newest_first if model_id in (None, kept[0].model_id)]

    def study(self, study_id: str) -> StudyReport:
        if study_id not in self._kept:
            raise NotFound(f"no study {study_id!r}")
        study, outcome = self._kept[study_id]
        trials = sorted(outcome.trials, key=lambda trial: trial.number)
        importances = _importances(trials) if can_rank_parameters(trials) else {}
        return StudyReport(_summary(study, outcome), tuple(trials), importances, front_of(study.objectives, trials))

    def draw(self, study_id: str) -> str:
        """A table in place of plots."""
        rows = tuple(
            (str(trial.number), str(trial.state), trial.family, str(dict(trial.params)), str(trial.score))
            for trial in self.study(study_id).ranked_trials()
        )
        trials = Table(("trial", "state", "family", "parameters", "score"), rows)
        return sections_page(study_id, "", (), (Section("Trials", parts=(trials,)),))


def _summary(study: Study, outcome: SearchOutcome) -> StudySummary:
    return summarize(study.study_id, study.model_id, study.objectives, outcome.trials)


def _importances(trials: Sequence[Trial]) -> dict[str, float]:
    """The share of the score's variance between a parameter's lower and upper half, or between its choices."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.score is not None]
    names = {(trial.family, name) for trial in complete for name in trial.params}
    found = {}
    for family, name in names:
        pairs = [(trial.params.get(name), trial.score or 0.0) for trial in complete if trial.family == family]
        found[f"{family}.{name}"] = _between(pairs)
    total = sum(found.values())
    if not total > 0:
        return {}
    return {name: found[name] / total for name in sorted(found, key=lambda name: (-found[name], name))}


def _between(pairs: Sequence[tuple[Any, float]]) -> float:
    values = [value for value, _ in pairs]
    if all(isinstance(value, int | float) for value in values):
        middle = statistics.median(values)
        pairs = [(value > middle, score) for value, score in pairs]
    groups: dict[Any, list[float]] = {}
    for value, score in pairs:
        groups.setdefault(value, []).append(score)
    mean = statistics.fmean(score for _, score in pairs)
    return sum(len(scores) * (statistics.fmean(scores) - mean) ** 2 for scores in groups.values())
