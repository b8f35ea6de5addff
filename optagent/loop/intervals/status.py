"""Interval status from its journal: coverages of the days that are kept, the widths that answer, and the open alert."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np

from optagent.conformal.coverage import WATCHED, coverage_interval
from optagent.domain.alert import Alert, AlertKind
from optagent.domain.interval_status import IntervalStatus, LevelStanding, SpellCoverage
from optagent.domain.model import ModelSpec
from optagent.domain.prediction_interval import LEVELS, IntervalRecord
from optagent.errors import NotFound
from optagent.ports import Store

_DAY_S = 86_400.0
_SPELLS = 10


async def read_interval_status(model_id: str, store: Store) -> IntervalStatus:
    """The status of a model's intervals; raises ModelNotFound, and NotFound where it has none."""
    spec = await store.model(model_id)
    if not spec.intervals:
        raise NotFound(
            f"model {model_id!r} has no intervals: set intervals: true in its model.yaml, and register that (optagent"
            " register model.yaml)"
        )
    record = await store.intervals(model_id)
    if record is None:
        raise NotFound(
            f"the intervals of model {model_id!r} have not begun: they start within a minute of optagent up, from the"
            f" holdout of the champion; optagent alerts {model_id} and optagent versions {model_id} say what is there"
        )
    return interval_status_of(spec, record, await store.alerts(model_id))


def interval_status_of(spec: ModelSpec, record: IntervalRecord, alerts: Sequence[Alert]) -> IntervalStatus:
    """The status that a journal tells; `alerts` are those of the model."""
    levels = _levels_of(spec, record)
    watched, totals = levels[WATCHED], _sum_counts(record.covered.values())
    is_open = [alert for alert in alerts if alert.kind is AlertKind.INTERVALS and alert.is_open]
    return IntervalStatus(
        model_id=record.model_id,
        version=record.version,
        level=watched.level,
        rows=totals[0],
        coverage=watched.coverage,
        width=watched.width,
        levels=levels,
        tenths=_tenths_of(record.covered),
        began_at=record.began_at,
        looked_at=record.looked_at,
        waits_for=record.waits_for,
        alert_is_open=bool(is_open),
        alert=is_open[0].message if is_open else "",
    )


def _levels_of(spec: ModelSpec, record: IntervalRecord) -> tuple[LevelStanding, ...]:
    rows, *covered = _sum_counts(record.covered.values())
    return tuple(
        LevelStanding(level, threshold, None if spec.task.classifies else 2 * threshold, coverage_interval(rows, count))
        for level, threshold, count in zip(LEVELS, record.published.thresholds, covered, strict=True)
    )


def _tenths_of(counts: Mapping[str, tuple[int, ...]]) -> tuple[SpellCoverage, ...]:
    """The time from the first day to the last in ten parts of whole days, or in days where those are fewer."""
    if not counts:
        return ()
    days = sorted(map(int, counts))
    parts = min(_SPELLS, days[-1] + 1 - days[0])
    edges = [days[0] + place * (days[-1] + 1 - days[0]) // parts for place in range(parts + 1)]
    spells = []
    for start, end in pairwise(edges):
        rows, *covered = _sum_counts([counts[str(day)] for day in days if start <= day < end])
        spells.append(SpellCoverage(start * _DAY_S, end * _DAY_S, rows, coverage_interval(rows, covered[WATCHED])))
    return tuple(spells)


def _sum_counts(days: Collection[tuple[int, ...]]) -> list[int]:
    """The rows of these days, and those that each level covered."""
    totals: list[int] = np.array(list(days), dtype=np.int64).reshape(-1, 1 + len(LEVELS)).sum(axis=0).tolist()
    return totals
