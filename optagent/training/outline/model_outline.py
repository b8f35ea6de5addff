"""Model outline: the parts of a model's description that its rows tell, each with the reason."""

from dataclasses import dataclass

from optagent.domain.model import Task


@dataclass(frozen=True, slots=True)
class Remark:
    """A column, and a sentence about it."""

    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class TargetOutline:
    """The task that the values of a target suggest; `reason` says why, `notes` what else to think of.

    `classes` are in the order of a model, the positive one of a binary model last; empty for a regression.
    """

    name: str
    task: Task
    reason: str
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelOutline:
    """A description to start from, for `rows` rows of which `looked_at` were looked at column by column.

    `time_column` is the best of `times`; `unusable_times` hold dates that no time column can have. `ignored` columns
    are not learned from, `suspects` are, until somebody decides otherwise. `left_out` are columns that no model reads.
    """

    target: TargetOutline
    rows: int
    looked_at: int
    columns: int
    time_column: str | None = None
    times: tuple[Remark, ...] = ()
    unusable_times: tuple[Remark, ...] = ()
    ignored: tuple[Remark, ...] = ()
    suspects: tuple[Remark, ...] = ()
    sensitive: tuple[Remark, ...] = ()
    entities: tuple[Remark, ...] = ()
    left_out: tuple[Remark, ...] = ()
