"""What the losses of labelled rows say: does the model still know what it knew on its reference?"""

from dataclasses import dataclass
from enum import StrEnum

from optagent.domain.study import Interval


class DriftState(StrEnum):
    DETECTED = "detected"
    NOT_DETECTED = "not detected"
    INSUFFICIENT = "insufficient"


class Direction(StrEnum):
    """Of the loss. `UNCLEAR`: its interval holds zero, or there is none."""

    WORSE = "worse"
    BETTER = "better"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class AdwinVerdict:
    """ADWIN's first rise of the loss among the current rows, or its first fall where there is no rise (POSIX time)."""

    detected: bool
    at: float | None = None
    direction: Direction = Direction.UNCLEAR


@dataclass(frozen=True, slots=True)
class ConceptDrift:
    """The e-detector's answer, with ADWIN's beside it. `reason` says why it is insufficient.

    `alarmed_at` is the time of the row that gave the alarm, `changed_at` the start for which there was most evidence
    then (POSIX times). An alarm is an `e_value` of `threshold` at some time; `e_value` is the one after the last row.
    `arl_rows` is the mean number of labelled rows between false alarms that was asked for. `excess` is by how much the
    mean loss since the change, or of all current rows without one, is above the `reference_loss`; since the start was
    chosen for its evidence, it tends to be too large right after an alarm. `loss` names the loss, between 0 and 1.
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

    @property
    def detected(self) -> bool:
        return self.state is DriftState.DETECTED
