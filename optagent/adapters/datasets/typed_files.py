"""Parquet and Arrow files: reads files whose rows, types and sizes are known before anything is read."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.types as pt

from optagent.adapters.datasets.choice import choose_columns, refuse_duplicates
from optagent.adapters.datasets.files import Files, reading
from optagent.adapters.datasets.limits import Meter, fixed_width
from optagent.training.pandas_index import index_columns, mark_index


def read_typed_files(files: Files, columns: Sequence[str] | None, meter: Meter) -> pa.Table:
    """The rows of all files, in the order of their names; folders such as `day=2024-01-31` become columns."""
    with reading(files.where, files.remote):
        dataset = open_dataset(files)
    return read_columns(dataset, files, columns, meter)


def read_columns(dataset: ds.Dataset, files: Files, columns: Sequence[str] | None, meter: Meter) -> pa.Table:
    """The rows of an open dataset, with all supported columns or those in `columns`."""
    with reading(files.where, files.remote):
        names = choose_columns(dataset.schema, columns, files.where)
        fields = pa.schema([dataset.schema.field(name) for name in names])
        rows = dataset.count_rows()
        meter.expect(rows, _table_bytes(dataset, fields, rows, files), len(names), files.where)
        batches = []
        for batch in dataset.to_batches(columns=names):
            meter.add(batch.num_rows, batch.nbytes, len(names), files.where)
            batches.append(batch)
        return pa.Table.from_batches(batches, schema=mark_index(fields, _index_names(dataset, names)))


def _index_names(dataset: ds.Dataset, names: Sequence[str]) -> list[str]:
    """Those of the names that hold a pandas index, by the first file: pandas writes the files of a folder alike."""
    index = index_columns(dataset.schema)
    return [name for name in names if name in index]


def open_dataset(files: Files) -> ds.Dataset:
    """The files as one dataset, of which only the schemas are read."""
    kind = ds.ParquetFileFormat() if files.format == "parquet" else ds.IpcFileFormat()
    options = ds.FileSystemFactoryOptions(
        partition_base_dir=files.root, partitioning=ds.HivePartitioning.discover(), exclude_invalid_files=False
    )
    factory = ds.FileSystemDatasetFactory(files.filesystem, list(files.paths), kind, options)
    for schema in factory.inspect_schemas():
        refuse_duplicates(schema.names, files.where)
    # Every file's schema, as a column may be int32 in one and double in another.
    return factory.finish(factory.inspect(promote_options="permissive", fragments=None))


def _table_bytes(dataset: ds.Dataset, fields: pa.Schema, rows: int, files: Files) -> int:
    """An estimate of the table's size: exact for fixed widths, the stored size for texts."""
    widths = [fixed_width(field.type) for field in fields]
    texts = {field.name for field, width in zip(fields, widths, strict=True) if width is None}
    texts -= {field.name for field in fields if pt.is_dictionary(field.type)}
    stored = 0
    if texts and files.format == "parquet":
        for fragment in dataset.get_fragments():
            for group in (fragment.metadata.row_group(index) for index in range(fragment.metadata.num_row_groups)):
                chunks = (group.column(index) for index in range(group.num_columns))
                stored += sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in texts)
    return rows * sum(width or 4 for width in widths) + stored
