"""Learning pass of intervals: the outcomes that have come move the thresholds, and what is published follows them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from optagent.arrays import Mask, Rows
from optagent.conformal.tracker import IntervalTracker, Thresholds
from optagent.domain.prediction_interval import IntervalRecord, IntervalThresholds, ServedThresholds
from optagent.loop.intervals.scored_rows import ScoredRows, pack_hashes, unpack_hashes

LEAST_MOVE = 0.01
"""New thresholds are published where one of them has moved by more, as a share of itself."""

KEPT_DAYS = 90
"""Days of which the coverage is kept."""

_RECORDED_WITHIN_S = 3600.0
_DAY_US = 86_400_000_000


def first_record(model_id: str, version: str, tracker: IntervalTracker, now: float) -> IntervalRecord:
    """The journal of intervals that start from the holdout of a version."""
    thresholds = tuple(tracker.thresholds.tolist())
    return IntervalRecord(
        model_id,
        version,
        now,
        tracker.to_plain(),
        IntervalThresholds(thresholds),
        open_since=now,
        served=(ServedThresholds(now, 0, thresholds),),
    )


def learn_rows(record: IntervalRecord, rows: ScoredRows, now: float) -> IntervalRecord:
    """The journal once the outcomes that have come are learned; rows without an outcome wait for theirs.

    A row is judged by the thresholds that answered when it was asked, whether it asked for them or not.
    """
    known = unpack_hashes(record.known)
    is_known = np.isin(rows.hashes, known)
    has_come = np.isfinite(rows.scores)
    fresh, waiting = np.flatnonzero(has_come & ~is_known), ~has_come & ~is_known
    open_since = max(record.began_at, min(_oldest(rows.time_us, waiting, now), now - _RECORDED_WITHIN_S))
    record = replace(record, looked_at=now, open_since=open_since)
    if len(fresh):
        record = _learn_fresh(record, rows, fresh, now)
    is_kept = rows.time_us >= open_since * 1e6
    still_known = rows.hashes[is_kept & (has_come | is_known)]
    return replace(record, known=pack_hashes(still_known), served=_since(record.served, open_since))


def _learn_fresh(record: IntervalRecord, rows: ScoredRows, fresh: Rows, now: float) -> IntervalRecord:
    tracker = IntervalTracker.from_plain(record.state)
    scores, time_us = rows.scores[fresh], rows.time_us[fresh]
    places = np.searchsorted([each.at for each in record.served], time_us / 1e6, side="right") - 1
    places = np.maximum(places, 0)
    served = np.array([each.thresholds for each in record.served])[places]
    learned = np.array([each.learned for each in record.served])[places]
    tracker.learn(scores, served, float(tracker.rows + len(fresh) - learned.mean()))
    published = _thresholds_to_publish(record, tracker)
    return replace(
        record,
        state=tracker.to_plain(),
        published=published,
        served=(*record.served, ServedThresholds(now, tracker.rows, published.thresholds)),
        covered=_add_covered(record.covered, time_us // _DAY_US, scores[:, None] <= served),
    )


def _thresholds_to_publish(record: IntervalRecord, tracker: IntervalTracker) -> IntervalThresholds:
    new: Thresholds = tracker.thresholds
    moved = np.abs(tracker.places(new) - tracker.places(np.array(record.published.thresholds)))
    return IntervalThresholds(tuple(new.tolist())) if moved.max() > LEAST_MOVE else record.published


def _add_covered(counts: Mapping[str, tuple[int, ...]], days: Rows, is_covered: Mask) -> Mapping[str, tuple[int, ...]]:
    """The counts by day with those of more rows; `is_covered` is (rows, levels)."""
    by_day = dict(counts)
    for day in np.unique(days).tolist():
        inside = is_covered[days == day]
        new = (len(inside), *inside.sum(axis=0).tolist())
        before = by_day.get(str(day), (0,) * len(new))
        by_day[str(day)] = tuple(one + other for one, other in zip(before, new, strict=True))
    newest = sorted(by_day, key=int)[-KEPT_DAYS:]
    return {day: by_day[day] for day in newest}


def _oldest(time_us: Rows, waiting: Mask, now: float) -> float:
    """The time of the oldest row that waits for its outcome, now where none does."""
    return float(time_us[waiting][0] - 1) / 1e6 if waiting.any() else now


def _since(served: Sequence[ServedThresholds], start: float) -> tuple[ServedThresholds, ...]:
    """The thresholds that answered from `start` on."""
    later = [place for place, each in enumerate(served) if each.at > start]
    first = (later[0] if later else len(served)) - 1
    return tuple(served[max(0, first) :])
