"""Bytes of past rows in sorted sets: numbers whose bytes are in the order of the numbers, then the id of the row."""

import struct
from collections.abc import Sequence

import numpy as np

from optagent.arrays import Matrix64
from optagent.training.history.state import PastRow

_MISSING = b"\xff" * 8
_SIGN = np.uint64(1 << 63)


def encode_row(row: PastRow) -> bytes:
    """The member of a sorted set: among rows of one time, members are in the order of the rows' values."""
    return b"".join(map(_encode_number, row.values)) + row.row_id.encode("utf-8", "surrogatepass")


def decode_rows(members: Sequence[bytes], width: int) -> Matrix64:
    """(members, width) the numbers of rows, NaN where they are missing."""
    data = b"".join([member[: 8 * width] for member in members])
    ordered = np.frombuffer(data, dtype=">u8").astype(np.uint64).reshape(len(members), width)
    bits = np.where(ordered & _SIGN, ordered ^ _SIGN, ~ordered)
    return np.where(ordered == ~np.uint64(0), np.nan, bits.view(np.float64))


def _encode_number(number: float | None) -> bytes:
    if number is None:
        return _MISSING
    bits = struct.pack(">d", number)
    if bits[0] & 0x80:
        return bytes(255 - byte for byte in bits)
    return bytes((bits[0] | 0x80,)) + bits[1:]
