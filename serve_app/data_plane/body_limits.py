"""Limits of request bodies: the most that one prediction or label request may contain."""

from optagent.errors import TooLarge
from optagent.serving.column_readers import LONGEST_TEXT
from optagent.serving.row_reader import MOST_ROWS
from optagent.training.columns import LONGEST_NAME

__all__ = [
    "FEW_COLUMNS",
    "LONGEST_NAME",
    "LONGEST_TEXT",
    "MOST_CELLS",
    "MOST_COLUMNS",
    "MOST_EXPLAINED",
    "MOST_LABELS",
    "MOST_LABEL_CELLS",
    "MOST_LABEL_COLUMNS",
    "MOST_OUTCOMES",
    "MOST_ROWS",
    "SMALL_BODY",
    "VALUE_BYTES",
    "too_many_rows",
]

SMALL_BODY = 100_000
"""Bytes. Larger bodies are read in a thread, part by part: a decoder that is written in C lets no other thread run."""

FEW_COLUMNS = 256
"""Tables of Arrow with more columns are read in a thread, since each column has a cost of its own."""

MOST_COLUMNS = 10_000
"""Features are tens or hundreds; each column of a body may cost a thousand times its bytes."""

MOST_CELLS = 2_500_000
"""Rows times columns: as many as there are 32-bit numbers in the largest body of the default settings, 10 MB."""

MOST_EXPLAINED = 200
"""Rows of one request that asks for reasons. A row of a usual model takes less than a millisecond, of a large forest a
hundred."""

MOST_LABELS = 100_000
"""Labels of one request; their ids and numbers fill some 2 MB."""

MOST_OUTCOMES = 100
"""Numeric columns of a label besides itself. Each becomes a column of the archive, so that names must be few."""

MOST_LABEL_COLUMNS = MOST_OUTCOMES + 3  # with id, time and label

MOST_LABEL_CELLS = 1_000_000
"""Labels times columns. What one label has, all have a cell for."""

VALUE_BYTES = 32
"""Memory of a value as Python holds it: a number and the reference to it. Texts count by the bytes of their body."""


def too_many_rows(count: int, most_rows: int, where: str = "rows") -> TooLarge:
    """The refusal of more rows than one request may have."""
    return TooLarge(f"{where}: {count:,} in one call, the limit is {most_rows:,}")
