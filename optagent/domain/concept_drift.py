"""Concept drift: the results of detectors on the losses of labelled rows."""

from dataclasses import dataclass
from enum import StrEnum

from optagent.domain.study import Interval


class DriftState(StrEnum):
    DETECTED = "detected"
    NOT_DETECTED = "not detected"
    INSUFFICIENT = "insufficient"


class Direction(StrEnum):
    """Direction of the change of the loss. `UNCLEAR`: its interval holds zero, or there is none."""

    WORSE = "worse"
    BETTER = "better"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class AdwinVerdict:
    """The first rise of the loss that ADWIN finds in the current rows, or the first fall without one; a POSIX time."""

    detected: bool
    at: float | None = None
    direction: Direction = Direction.UNCLEAR


@dataclass(frozen=True, slots=True)
class ConceptDrift:
    """The result of the e-detector, with that of ADWIN for comparison. `reason` says why the rows are insufficient.

    `alarmed_at` is the time of the row that raised the alarm, `changed_at` the start with the most evidence at that
    time (POSIX times). The alarm is raised when the e-value reaches `threshold`; `e_value` is the value after the last
    row. `arl_rows` is the requested mean number of labelled rows between false alarms. `excess` is the mean loss since
    the change, or of all current rows without one, less the `reference_loss`; it tends to be too large right after an
    alarm, because the start was chosen for its evidence. `loss` names the loss, between 0 and 1.

    `running` is True for the detector of the monitor, which goes on from window to window: its `rows` are those since
    `watched_since`, a POSIX time. Otherwise it began anew with the rows of the report. `caveat` says what the reference
    is too short to tell.
    """

    state: DriftState
    reason: str = ""
    loss: str = ""
    rows: int = 0
    reference_rows: int = 0
    block_rows: int | None = None
    arl_rows: float | None = None
    threshold: float | None = None
    e_value: float | None = None
    alarmed_at: float | None = None
    changed_at: float | None = None
    reference_loss: float | None = None
    excess: Interval | None = None
    direction: Direction = Direction.UNCLEAR
    adwin: AdwinVerdict | None = None
    running: bool = False
    watched_since: float | None = None
    caveat: str = ""

    @property
    def is_detected(self) -> bool:
        return self.state is DriftState.DETECTED
