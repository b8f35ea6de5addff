"""Archive removal: rows leave a model's archive, whole files by their age and single rows by their ids.

A file is never changed: a removal writes what stays into new files and replaces the old ones in one step, as a merge
does, so it may be killed at any point and repeated, and other processes record and archive meanwhile.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from optagent.adapters.state.archive.durable_files import replace_file
from optagent.adapters.state.archive.files import name_range, replace_files, write_files
from optagent.adapters.state.archive.manifest import DataFile, newest_manifest
from optagent.adapters.state.archive.row_files import read_ids, read_rows
from optagent.ports import RecordKind

_EARLY_LABELS_S = 86_400.0  # a label may have come before its prediction, by clocks that disagree
_AT_ONCE = 64  # files that a step replaces


def old_files(folder: Path, before: float) -> list[DataFile]:
    """The files all of whose rows were recorded before that time (POSIX seconds); for labels, a day before it."""
    limits = {RecordKind.LABELS: before - _EARLY_LABELS_S}
    return [
        file
        for file in newest_manifest(folder).files
        if file.came_at < limits.get(RecordKind(file.kind_and_day[0]), before)
    ]


def count_rows(files: list[DataFile]) -> Counter[str]:
    """The number of rows by kind."""
    counts = Counter[str]()
    for file in files:
        counts[file.kind_and_day[0]] += file.rows
    return counts


def drop_old_files(folder: Path, before: float) -> Counter[str]:
    """Drops the old files, and returns the number of their rows by kind."""
    counts = Counter[str]()
    while files := old_files(folder, before):
        if replace_files(folder, files, (), newest_manifest(folder).number):
            counts += count_rows(files)
    return counts


def erase_ids(folder: Path, ids: pa.Array) -> Counter[str]:
    """Removes the rows of these ids (texts) from all files, and returns their number by kind."""
    counts, clean = Counter[str](), set[DataFile]()
    while True:
        now = newest_manifest(folder)
        step: dict[DataFile, Counter[str]] = {}
        new: list[DataFile] = []
        for file in now.files:
            if file in clean or len(step) >= _AT_ONCE:
                continue
            try:
                after = _without_ids(folder, file, ids, now.number)
            except FileNotFoundError:
                if newest_manifest(folder).number == now.number:
                    raise
                break  # merged into another file since the manifest was read
            if after is None:
                clean.add(file)
                continue
            new += after
            step[file] = Counter({file.kind_and_day[0]: file.rows - sum(item.rows for item in after)})
        if not step and clean.issuperset(newest_manifest(folder).files):
            return counts
        if step and replace_files(folder, list(step), new, now.number):
            counts.update(sum(step.values(), Counter[str]()))
            clean.update(new)


def erase_matured(path: Path, ids: pa.Array) -> int:
    """Removes the training rows of these ids from the file of a day, and returns their number."""
    rows = pq.read_table(path, partitioning=None)
    if "id" not in rows.schema.names:
        return 0
    stays = rows.filter(pc.invert(pc.is_in(rows["id"].cast(ids.type), value_set=ids)))
    if stays.num_rows == rows.num_rows:
        return 0
    sink = pa.BufferOutputStream()
    pq.write_table(stays, sink, compression="zstd")
    replace_file(path, sink.getvalue().to_pybytes())
    return int(rows.num_rows - stays.num_rows)


def _without_ids(folder: Path, file: DataFile, ids: pa.Array, start: int) -> list[DataFile] | None:
    """The files in place of one that holds some of the ids: one, or none where no row stays. None where it is clean."""
    if not pc.any(pc.is_in(read_ids(folder, file), value_set=ids)).as_py():
        return None
    tables = [rows.filter(pc.invert(pc.is_in(rows["id"], value_set=ids))) for _, rows in read_rows(folder, file)]
    stay: Mapping[tuple[str, str, str], list[pa.Table]] = {
        (*file.kind_and_day, file.types): [rows for rows in tables if rows.num_rows]
    }
    return write_files(folder, {group: rows for group, rows in stay.items() if rows}, start, name_range([file]))
