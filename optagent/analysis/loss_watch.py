"""Loss watch: an e-detector that goes on from one portion of labelled rows to the next, at the rate of live rows."""

import math
from dataclasses import dataclass, replace

from optagent.arrays import Vector
from optagent.domain.concept_drift import ConceptDrift, DriftState
from optagent.sequential.block_baseline import BlockBaseline
from optagent.sequential.e_detector import EDetector, e_detector

_FEWEST_BLOCKS = 5  # of rows: less than that says nothing about a model
_FADED = 0.1  # of the threshold: an alarm whose evidence has fallen below was chance, or is over
_OFF_BEAT = 0.2  # of a cycle by which a block may miss a whole number of them


@dataclass(frozen=True, slots=True)
class LossWatch:
    """The evidence for a rise of the loss by the rows up to `until`. It holds plain values only. Times are POSIX
    seconds.

    `since` is the time of the first row, `waiting_since` that of the first row of the unfinished block, `start_times`
    are those of the likeliest start for each bet.
    """

    detector: EDetector
    until: float
    since: float | None = None
    waiting_since: float = 0.0
    start_times: tuple[float, ...] = ()
    alarmed_at: float | None = None
    changed_at: float | None = None

    def after(self, losses: Vector, time: Vector, until: float, false_alarm_every_s: float) -> "LossWatch":
        """The state after the labelled rows from `self.until` up to `until`, in the order of time."""
        watch = self._on_beat()
        rows = watch.detector.rows + len(losses)
        since = float(time[0]) if watch.since is None and len(losses) else watch.since
        watch = replace(watch, since=since, until=until)
        if not rows:
            return watch
        detector = watch.detector.at_rate(watch._rate(rows) * false_alarm_every_s)
        watch = replace(watch, detector=detector)
        return watch._with_rows(losses, time) if len(losses) else watch

    def renew(self, answered: bool) -> "LossWatch":
        """The watch without evidence, for the rows to come, where an alarm was answered by an optimization or most of
        its evidence is gone; otherwise as it is."""
        faded = self.detector.e_value < _FADED * self.detector.threshold
        if self.alarmed_at is None or not (answered or faded):
            return self
        return started_watch(self.detector.baseline, self.until)

    def verdict(self, false_alarm_every_s: float) -> ConceptDrift:
        """The verdict by all rows so far, without the size of the rise."""
        detector = self.detector
        baseline, least_rows = detector.baseline, _FEWEST_BLOCKS * detector.baseline.block
        state, reason = DriftState.NOT_DETECTED, ""
        if self.alarmed_at is not None:
            state = DriftState.DETECTED
        elif detector.rows < least_rows:
            state = DriftState.INSUFFICIENT
            needed = f"{least_rows:,} are needed ({_FEWEST_BLOCKS} blocks of {baseline.block:,})"
            reason = f"{detector.rows:,} labelled rows so far, {needed}"
        return ConceptDrift(
            state,
            reason=reason,
            rows=detector.rows,
            reference_rows=baseline.rows,
            block_rows=baseline.block,
            arl_rows=self._rate(detector.rows) * false_alarm_every_s if detector.rows else None,
            threshold=detector.threshold,
            e_value=detector.e_value,
            alarmed_at=self.alarmed_at,
            changed_at=self.changed_at,
            reference_loss=baseline.mean,
            running=True,
            watched_since=self.since,
            caveat=baseline.doubt,
        )

    def _rate(self, rows: int) -> float:
        """Labelled rows a second."""
        return rows / max(1.0, self.until - (self.until if self.since is None else self.since))

    def _on_beat(self) -> "LossWatch":
        """The same watch, or one anew where its blocks are no whole cycles at the rate at which rows come."""
        rows, baseline = self.detector.rows, self.detector.baseline
        if not (rows and self.since is not None and self.alarmed_at is None and baseline.cycle_s):
            return self
        if self.until - self.since < baseline.cycle_s:
            return self
        turn = self._rate(rows) * baseline.cycle_s
        turns = max(1, round(baseline.block / turn))
        if abs(baseline.block / turn - turns) <= _OFF_BEAT * turns:
            return self
        return started_watch(baseline.resize(math.ceil(turns * turn)), self.until)

    def _with_rows(self, losses: Vector, time: Vector) -> "LossWatch":
        before = self.detector
        detector = before.after(losses)
        first = before.rows - before.waiting
        waiting_since = self.waiting_since if before.waiting else float(time[0])

        def time_of(row: int, index: int) -> float:
            if row < first:
                return self.start_times[index]
            return waiting_since if row == first else float(time[row - before.rows])

        times = tuple(time_of(row, index) for index, row in enumerate(detector.starts))
        watch = replace(self, detector=detector, start_times=times)
        if detector.waiting:
            place = detector.rows - detector.waiting - before.rows
            watch = replace(watch, waiting_since=waiting_since if place < 0 else float(time[place]))
        if detector.alarm is None or self.alarmed_at is not None:
            return watch
        alarm = detector.alarm
        known = {row: self.start_times[index] for index, row in enumerate(before.starts) if self.start_times}
        changed_at = known[alarm.start] if alarm.start < first else time_of(alarm.start, 0)
        return replace(watch, alarmed_at=float(time[alarm.row - before.rows]), changed_at=changed_at)


def started_watch(baseline: BlockBaseline, until: float) -> LossWatch:
    """A watch that has seen no row yet, for the rows from `until` on."""
    detector = e_detector(baseline, float(baseline.block))
    return LossWatch(detector, until, start_times=(until,) * len(detector.starts))
