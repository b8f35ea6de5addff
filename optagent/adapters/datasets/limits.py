"""Read limits: rows by setting, bytes by the memory that is free."""

from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa

from optagent.errors import InvalidData

_CGROUP = Path("/sys/fs/cgroup")
_MATRIX_BYTES = 4  # float32, the encoded form that is in memory beside the table


def available_bytes() -> int:
    """The memory in bytes that is free on the machine, or within the container's limit."""
    free: int = psutil.virtual_memory().available
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup, or no limit ("max")
        return free
    return max(min(free, limit - used), 0)


def fixed_width(arrow_type: pa.DataType) -> int | None:
    """The bytes of one value of a type; None where values differ in length."""
    try:
        return max(int(arrow_type.bit_width) // 8, 1)
    except ValueError:
        return None


@dataclass(slots=True)
class Meter:
    """Counts rows and bytes that have been read, and raises InvalidData as soon as they are too many."""

    row_limit: int
    byte_limit: int
    rows: int = 0
    bytes: int = 0

    def expect(self, rows: int, size: int, columns: int, where: str) -> None:
        """Raises InvalidData if a read of `rows` rows and a table of `size` bytes would be too large."""
        if rows > self.row_limit:
            raise InvalidData(f"{where}: {rows:,} rows, the limit is {self.row_limit:,} (OPT_AGENT_ROW_LIMIT)")
        self._check_bytes(rows, size, columns, where)

    def add(self, rows: int, size: int, columns: int, where: str) -> None:
        """Counts rows that were read, and `size` bytes of table."""
        self.rows += rows
        self.bytes += size
        if self.rows > self.row_limit:
            raise InvalidData(
                f"{where}: at least {self.rows:,} rows, the limit is {self.row_limit:,} (OPT_AGENT_ROW_LIMIT)"
            )
        self._check_bytes(self.rows, self.bytes, columns, where)

    def _check_bytes(self, rows: int, size: int, columns: int, where: str) -> None:
        needed = size + rows * columns * _MATRIX_BYTES
        if needed > self.byte_limit:
            raise InvalidData(
                f"{where}: {rows:,} rows of {columns} columns need about {needed / 2**20:,.0f} MiB, of which"
                f" {self.byte_limit / 2**20:,.0f} MiB may be used; read fewer rows (OPT_AGENT_ROW_LIMIT) or columns"
            )
