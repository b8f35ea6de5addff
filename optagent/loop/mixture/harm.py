"""Mixture harm: the user's own metrics of the answers less those of the champion alone, judged day by day.

Each learned row tells both: what was answered, and what the champion said. The mean difference of a day is one
observation, since rows of a day have much in common, and an anytime-valid bound of their mean is looked at with every
pass. Where it is below 0 for a metric, the champion answers alone until a person thaws the mixture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from optagent.analysis.expression import Column, answer_columns, compile_expression
from optagent.arrays import Rows, Vector
from optagent.domain.mixture import MixtureEvent, MixtureMode, MixtureRecord
from optagent.domain.model import ModelSpec, Task
from optagent.domain.rollout import AUTOMATIC
from optagent.domain.slot import CHAMPION_SLOT
from optagent.errors import InvalidRequest
from optagent.loop.mixture.answered_rows import MixtureRows
from optagent.mixing.forms import Array, Form
from optagent.sequential.anytime_t import t_bounds
from optagent.training.encoding import Schema

ALPHA = 0.01
"""The chance, of all looks and metrics together, that a mixture that does no harm is taken out."""

DaySums = Mapping[str, Mapping[str, tuple[float, float]]]
"""By metric and day (its number since 1970): the sum of the differences, and the number of rows."""

_DAY_S = 86_400
_FEWEST_DAYS = 14  # from seven days, four times as many mixtures without harm as ALPHA where days have memory .5
_MOST_DAYS = 400


@dataclass(frozen=True, slots=True)
class Harm:
    """A metric that is below the champion's: the mean difference a row, its upper bound, and the days of both."""

    metric: str
    difference: float
    at_most: float
    days: int

    @property
    def words(self) -> str:
        return (
            f"{self.metric} of the answers is below that of the champion alone beyond doubt: {self.difference:+.4g} a "
            f"row over {self.days} days, {self.at_most:+.4g} at most"
        )


def watch_harm(
    record: MixtureRecord, learned: MixtureRows, spec: ModelSpec, schema: Schema, form: Form, now: float
) -> MixtureRecord:
    """The journal with the sums of the learned rows; where they prove harm, the champion answers alone from now on."""
    if spec.monitoring is None or not spec.monitoring.business:
        return record
    record = replace(record, harm=add_rows(record.harm, learned, spec.monitoring.business, schema, form))
    harm = None if record.mode is not MixtureMode.LEARNING else find_harm(record.harm, now - spec.label_delay_s)
    if harm is None:
        return record
    detail = {"why": harm.words, "metric": harm.metric, "difference": harm.difference, "at_most": harm.at_most}
    event = MixtureEvent(now, AUTOMATIC, str(MixtureMode.CHAMPION_ONLY), record.passes, {**detail, "days": harm.days})
    return replace(
        record,
        mode=MixtureMode.CHAMPION_ONLY,
        reason=f"{AUTOMATIC}: {harm.words}",
        events=(*record.events, event),
        is_settled=False,
    )


def harm_event(record: MixtureRecord) -> MixtureEvent | None:
    """The event by which harm has put the champion in alone, where that is how things are; None otherwise."""
    modes = [event for event in record.events if event.kind in set(MixtureMode)]
    is_harm = bool(modes) and modes[-1].by == AUTOMATIC and record.mode is MixtureMode.CHAMPION_ONLY
    return modes[-1] if is_harm else None


def add_rows(
    sums: DaySums, rows: MixtureRows, metrics: Mapping[str, str], schema: Schema, form: Form
) -> dict[str, dict[str, tuple[float, float]]]:
    """The sums with those of further rows; a metric that cannot be computed of them is left as it was."""
    days = rows.time_us // (_DAY_S * 1_000_000)
    champion = _champion_scores(rows, form)
    added = {}
    for name, text in metrics.items():
        by_day = dict(sums.get(name, {}))
        for day, total, count in _sum_by_day(_differences(rows, champion, text, schema, form), days):
            before = by_day.get(day, (0.0, 0.0))
            by_day[day] = (before[0] + total, before[1] + count)
        added[name] = {day: by_day[day] for day in sorted(by_day, key=int)[-_MOST_DAYS:]}
    return added


def find_harm(sums: DaySums, until: float) -> Harm | None:
    """The first metric that is below the champion's beyond doubt, by the days that ended before `until`."""
    for name, by_day in sums.items():
        days = sorted((day for day in by_day if (int(day) + 1) * _DAY_S <= until), key=int)
        if len(days) < _FEWEST_DAYS:
            continue
        means = np.array([by_day[day][0] / by_day[day][1] for day in days])
        bounds = t_bounds(means, ALPHA / len(sums), ALPHA / len(sums))
        if bounds is not None and bounds.high < 0:
            return Harm(name, bounds.estimate, bounds.high, len(days))
    return None


def without_days(sums: DaySums, start: float, end: float) -> dict[str, dict[str, tuple[float, float]]]:
    """The sums without the days that a time range (POSIX seconds) touches."""
    return {
        name: {day: each for day, each in by_day.items() if not start / _DAY_S - 1 < int(day) < end / _DAY_S}
        for name, by_day in sums.items()
    }


def _sum_by_day(differences: Vector, days: Rows) -> list[tuple[str, float, float]]:
    known = np.isfinite(differences)
    names, place = np.unique(days[known], return_inverse=True)
    totals, counts = np.bincount(place, weights=differences[known]), np.bincount(place)
    return [(str(day), total, float(count)) for day, total, count in zip(names.tolist(), totals, counts, strict=True)]


def _differences(rows: MixtureRows, champion: Array, text: str, schema: Schema, form: Form) -> Vector:
    """(rows,): the metric of the answer less that of the champion alone; NaN where either is not known."""
    try:
        expression = compile_expression(text)
        own, other = (
            expression(_columns(rows, form.unscale(scores), schema, expression.names))
            for scores in (rows.scores, champion)
        )
    except InvalidRequest:  # a column of texts that is calculated with, which the analysis of windows reports
        return np.full(len(rows), np.nan)
    difference: Vector = np.where(np.isfinite(champion).all(axis=1), own - other, np.nan)
    return difference


def _columns(rows: MixtureRows, scores: Array, schema: Schema, names: tuple[str, ...]) -> dict[str, Column]:
    unknown = {name: np.full(len(rows), np.nan) for name in names}
    prediction = scores if schema.task is Task.MULTICLASS else scores[:, 0]
    prediction = np.nan_to_num(prediction)
    return {**unknown, **rows.columns, **answer_columns(schema.task, schema.classes, prediction, rows.y)}


def _champion_scores(rows: MixtureRows, form: Form) -> Array:
    """(rows, outputs): the bounded scores of the champion's slot, NaN where it did not answer."""
    scores = np.full_like(rows.scores, np.nan)
    for places, run in rows.runs():
        if CHAMPION_SLOT in run.slots:
            scores[places] = run.said[:, len(form.rates) + run.slots.index(CHAMPION_SLOT)]
    return scores
