"""Mixture columns of recorded predictions: the slots that were asked, the digest of their weights, and their scores."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from optagent.errors import InvalidData

Array = npt.NDArray[np.float64]

SLOTS, DIGEST, SEPARATOR = "mixture_slots", "mixture_digest", "|"

_NAME = re.compile(rf"{SLOTS}|{DIGEST}|said_\d+")


class SaidRecord(NamedTuple):
    """The part of a record that a mixture adds: `slots` joined by `SEPARATOR`, and the `digest` of the weights.

    `said` is that of `MixtureAnswer`, (rows, members + layers, outputs).
    """

    slots: str
    digest: str
    said: Array

    @property
    def layout(self) -> tuple[object, ...]:
        """The slots and the shape of a row. Only records of one layout go into one table."""
        return (self.slots, *self.said.shape[1:])


def is_said_column(name: str) -> bool:
    """True for the names that these columns may have, whatever the number of slots.

    >>> is_said_column("said_12"), is_said_column("said_so")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


def said_columns(records: Sequence[SaidRecord]) -> dict[str, pa.Array]:
    """The columns of the rows of some requests of one layout, in the order of the requests.

    `mixture_slots` and `mixture_digest` are texts; `said_0` ... are float64, one for each number of a row of `said`
    in C order. A slot that did not answer has NaN, which Arrow and Parquet keep apart from null.
    """
    counts = [len(record.said) for record in records]
    place = pa.array(np.repeat(np.arange(len(records)), counts))
    said = np.concatenate([record.said for record in records])
    rows = said.reshape(len(said), said.shape[1] * said.shape[2])
    return {
        SLOTS: pa.array([record.slots for record in records], pa.large_string()).take(place),
        DIGEST: pa.array([record.digest for record in records], pa.large_string()).take(place),
        **{f"said_{at}": pa.array(np.ascontiguousarray(column)) for at, column in enumerate(rows.T)},
    }


def read_said(table: pa.Table, outputs: int) -> tuple[pa.ChunkedArray, pa.ChunkedArray, Array] | None:
    """The slots' texts, the digests, and what was said, (rows, members + layers, outputs), of recorded predictions.

    None where the table has no such columns. Numbers are as they were recorded, bit for bit, and NaN where they are
    missing; a row that no mixture answered has null in place of its slots. Raises InvalidData where a row does not
    consist of so many `outputs` each.
    """
    names = table.schema.names
    if SLOTS not in names or DIGEST not in names:
        return None
    width = 0
    while f"said_{width}" in names and table.schema.field(f"said_{width}").type == pa.float64():
        width += 1
    if not width or width % outputs:
        raise InvalidData(f"what a mixture said: {width} numbers a row, which are no multiple of {outputs} outputs")
    said = np.empty((table.num_rows, width))
    for at in range(width):
        said[:, at] = table[f"said_{at}"].to_numpy()
    return table[SLOTS], table[DIGEST], said.reshape(len(said), width // outputs, outputs)
