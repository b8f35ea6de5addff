"""Data quality: counts of incoming rows by problem."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RowProblem(StrEnum):
    """Problems of a row.

    `ABSENT`: the column is missing. `UNSEEN`: a category that the model was not trained on. `SKEWED`: a label with a
    time before that of its prediction. `CONFLICTING`: two labels of the same instant that differ. `ORPHAN`: a label of
    the window without a prediction in the window or shortly before. `UNUSABLE_LABEL`: a label that is neither a class
    nor a number of the model.
    """

    MISSING = "missing"
    INFINITE = "infinite"
    NOT_A_NUMBER = "not a number"
    UNSEEN = "unseen category"
    WRONG_TYPE = "wrong type"
    ABSENT = "absent column"
    EXTRA = "extra column"
    DUPLICATE = "duplicate prediction"
    DUPLICATE_LABEL = "duplicate label"
    CONFLICTING = "conflicting labels"
    ORPHAN = "label without prediction"
    SKEWED = "label before prediction"
    UNUSABLE_PREDICTION = "unusable prediction"
    UNUSABLE_LABEL = "unusable label"


@dataclass(frozen=True, slots=True)
class DataQuality:
    """Counts of rows: of the window, of those with a label, and by problem, in total (`problems`) and by column.

    Where there were too many rows, `sampled` of them were analyzed, and all counts but `rows` refer to those.
    """

    rows: int = 0
    labelled: int = 0
    problems: Mapping[RowProblem, int] = field(default_factory=dict)
    columns: Mapping[str, Mapping[RowProblem, int]] = field(default_factory=dict)
    sampled: int | None = None
