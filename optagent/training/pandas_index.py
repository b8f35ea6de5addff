"""Index columns: the columns of a table that hold the index of the pandas frame from which its file was written.

pandas writes an index that is no range of whole numbers beside the columns: in Parquet and Arrow under its name or as
`__index_level_0__`, and says so in the metadata of the schema; in CSV first and without a name. The number of a row
tells a model the order of the file, which may be that of the labels, so an index is learned from on request only.
"""

import json
import re
from collections.abc import Sequence

import pyarrow as pa

_INDEX = b"optagent.index"
_PANDAS = b"pandas"
_LEVEL = re.compile(r"__index_level_\d+__")


def index_columns(schema: pa.Schema) -> tuple[str, ...]:
    """The names of the columns that hold a pandas index, in the order of the schema.

    >>> index_columns(pa.schema({"a": pa.int8(), "__index_level_0__": pa.int64()}))
    ('__index_level_0__',)
    """
    metadata = schema.metadata or {}
    named = {*_read_names(metadata.get(_INDEX)), *_read_names(metadata.get(_PANDAS))}
    return tuple(
        name for place, name in enumerate(schema.names) if name in named or _is_level(name) or (not name and not place)
    )


def mark_index(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """The schema whose metadata names these columns as an index, and holds nothing else; without names, nothing."""
    return schema.with_metadata({_INDEX: json.dumps(list(names)).encode()} if names else None)


def _is_level(name: str) -> bool:
    return _LEVEL.fullmatch(name) is not None


def _read_names(text: bytes | None) -> tuple[str, ...]:
    """The names in a list, or in the `index_columns` of pandas, where a range is a mapping; none in other texts."""
    try:
        parsed = json.loads(text or b"[]")
    except ValueError:
        return ()
    names = parsed.get("index_columns", ()) if isinstance(parsed, dict) else parsed
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
