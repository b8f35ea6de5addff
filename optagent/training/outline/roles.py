"""Column roles: constants, row numbers and ids, and columns of entities, from the values of columns."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.training.columns import Kind, kind_of
from optagent.training.outline.model_outline import Remark
from optagent.training.outline.names import is_entity_name, is_id_name

_LEAST_ROWS = 20  # fewer rows may well have different values by chance
_LEAST_ENTITIES = 20
_LEAST_ROWS_EACH = 1.2


def is_constant(values: pa.ChunkedArray) -> bool:
    """True for a column without a value, or with a single one."""
    present = values.drop_null()
    return not len(present) or not pc.any(pc.not_equal(present, present[0])).as_py()


def describe_constant(values: pa.ChunkedArray) -> str:
    return "holds one value only" if len(values.drop_null()) else "holds no value"


def is_unique(name: str, values: pa.ChunkedArray) -> bool:
    """True where each row has another text, or another whole number under a name of ids or row by row in order."""
    if len(values) < _LEAST_ROWS or values.null_count or not _may_be_id(values):
        return False
    values = pc.cast(values, values.type.value_type) if pt.is_dictionary(values.type) else values
    if pc.count_distinct(values).as_py() < len(values):
        return False
    return not pt.is_integer(values.type) or is_id_name(name) or _counts_rows(values)


def describe_unique(values: pa.ChunkedArray) -> str:
    return f"each of the {len(values):,} rows has another value: an id, of which nothing can be learned"


def entity_remark(name: str, values: pa.ChunkedArray) -> Remark | None:
    """A remark on a column of whom or what a row is of, where some of them have several rows; None for any other."""
    if not is_entity_name(name) or not _may_be_id(values):
        return None
    distinct = pc.count_distinct(values.drop_null()).as_py()
    if distinct < _LEAST_ENTITIES or len(values) < _LEAST_ROWS_EACH * distinct:
        return None
    reason = (
        f"{distinct:,} values on {len(values):,} rows: as entity, the rows of one never stand on both sides of a split"
    )
    return Remark(name, reason)


def _may_be_id(values: pa.ChunkedArray) -> bool:
    return kind_of(values.type) is Kind.CATEGORICAL or pt.is_integer(values.type)


def _counts_rows(values: pa.ChunkedArray) -> bool:
    """True for the whole numbers from one to another without a gap, in any order."""
    bounds = pc.min_max(values)
    return bool(bounds["max"].as_py() - bounds["min"].as_py() == len(values) - 1)
