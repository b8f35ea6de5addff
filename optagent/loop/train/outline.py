"""Model outlining: looks at the rows of a file, at a sample of a wide or long one, and proposes a model of a target."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from optagent.arrays import Vector
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec
from optagent.ports import OpenRows
from optagent.training.columns import kind_of, require_columns
from optagent.training.outline.leaks import find_leaks
from optagent.training.outline.model_outline import ModelOutline, Remark, TargetOutline
from optagent.training.outline.names import is_entity_name, is_like_target, sensitive_attribute
from optagent.training.outline.pair_leaks import find_pair_leaks
from optagent.training.outline.roles import describe_constant, describe_unique, entity_remark, is_constant, is_unique
from optagent.training.outline.target_outline import outline_target
from optagent.training.outline.times import describe_time, is_time_candidate, rank_of_time, unreadable_dates
from optagent.training.pandas_index import index_columns
from optagent.training.target import encode_labels, learn_classes

_CELLS = 20_000_000
_LEAST_ROWS, _MOST_ROWS = 2_000, 50_000
_MOST_TIMES = 10  # candidates of which all rows are read
_MOST_WHOLE = 200  # columns of which a sample suggests that they are useless, and of which all rows are read
_LEAST_TIMES = 10  # different times, for a time column that is proposed as one


class RowLook:
    """The look at one file: a sample of its rows, of each class as many, and single columns whole where it matters."""

    def __init__(self, rows: OpenRows, target: str) -> None:
        require_columns([target], rows.schema.names, rows.where)
        self._rows = rows
        self._target = rows.read([target]).column(0)
        self.target = outline_target(self._target, target)
        self.left_out = _columns_left_out(rows.schema, target)
        skipped = {target, *(remark.column for remark in self.left_out)}
        self.names = [name for name in rows.schema.names if name not in skipped]
        self.total = len(self._target)
        self.y, chosen = _sample(self._target, self.target, len(self.names))
        self.sample = rows.take(chosen, self.names) if self.names else pa.table({})
        self.looked_at = len(chosen)
        self.is_whole = self.looked_at == self.total
        self.most_whole = len(self.names) if self.is_whole else _MOST_WHOLE

    def whole(self, name: str) -> pa.ChunkedArray:
        """The column in all rows."""
        return self.sample.column(name) if self.is_whole else self._rows.read([name]).column(0)


def outline_model(rows: OpenRows, target: str) -> ModelOutline:
    """A model of the target to start from; raises InvalidData where there is no such column, or it cannot be learned.

    A file of more than some 50,000 rows, or 20 million cells, is judged by a sample; the target, times, ids and
    constants by all rows.
    """
    look = RowLook(rows, target)
    time_column, times = _find_times(look)
    of_time = {remark.column for remark in times}
    constants, ids = _find_constants(look, of_time), _find_ids(look, of_time)
    unusable = _find_unreadable_dates(look, of_time | {remark.column for remark in (*constants, *ids)})
    useless = {time_column, *(remark.column for remark in (*constants, *ids, *unusable))}
    features = [name for name in look.names if name not in useless]
    leaks = find_leaks(look.sample, features, look.y, look.target.task, len(look.target.classes))
    ignored, suspects = _keep_a_feature(look, [*constants, *unusable], [*ids, *leaks], time_column)
    known = {*(remark.column for remark in (*ignored, *suspects)), time_column}
    alone = [name for name in features if name not in known]
    pairs = find_pair_leaks(look.sample, alone, look.y, look.target.task, len(look.target.classes))
    known |= {remark.column for remark in pairs}
    named = [name for name in look.names if name not in known and is_like_target(name, target)]
    reason = f"has a name like {target}: ignore it unless it is known before {target} is"
    return ModelOutline(
        target=look.target,
        rows=look.total,
        looked_at=look.looked_at,
        columns=len(rows.schema.names),
        time_column=time_column,
        times=tuple(times),
        unusable_times=tuple(unusable),
        ignored=tuple(ignored),
        suspects=(*suspects, *pairs, *(Remark(name, reason) for name in named)),
        sensitive=_find_sensitive(look),
        entities=_find_entities(look, {remark.column for remark in (*constants, *ids)}),
        left_out=tuple(look.left_out),
    )


def _columns_left_out(schema: pa.Schema, target: str) -> list[Remark]:
    remarks = [Remark(name, "the index of a pandas frame: no feature") for name in index_columns(schema)]
    index = {remark.column for remark in remarks}
    remarks += [
        Remark(field.name, f"of type {field.type}, which no model reads")
        for field in schema
        if kind_of(field.type) is None and field.name not in index
    ]
    return [remark for remark in remarks if remark.column != target]


def _sample(values: pa.ChunkedArray, target: TargetOutline, columns: int) -> tuple[Vector, npt.NDArray[np.int64]]:
    """The encoded targets and the places of the rows to look at, in order; of each class the same number where it
    has as many."""
    spec = ModelSpec("outline", target.task, FileSource("outline"), target.name)
    y, has_target = encode_labels(values, target.name, target.task, learn_classes(values, spec))
    places = np.flatnonzero(has_target)
    most = min(_MOST_ROWS, max(_LEAST_ROWS, _CELLS // max(columns, 1)))
    if len(places) <= most:
        return y, places
    groups = [np.flatnonzero(y == label) for label in np.unique(y)] if target.task.classifies else [np.arange(len(y))]
    share = most // len(groups)
    chosen = np.sort(np.concatenate([_spread(group, share) for group in groups]))
    return y[chosen], places[chosen]


def _spread(places: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    if len(places) <= most:
        return places
    return places[np.linspace(0, len(places) - 1, max(most, 1)).astype(np.int64)]


def _find_times(look: RowLook) -> tuple[str | None, list[Remark]]:
    """The time column that is proposed, and all candidates, the best first."""
    names = [name for name in look.names if is_time_candidate(name, look.sample.column(name))]
    names.sort(key=lambda name: rank_of_time(name, look.sample.column(name)))
    best, remarks = None, []
    for name in names[:_MOST_TIMES]:
        values = look.whole(name)
        try:
            reason = describe_time(values)
        except pa.ArrowInvalid:
            continue  # a text further down is no date
        distinct = len(values.unique())
        if values.null_count:
            reason += f"; {values.null_count:,} rows have none, which a time column must not have"
        elif distinct < _LEAST_TIMES:
            reason += f"; {distinct} different times only"
        elif best is None and rank_of_time(name, values) < 2:
            best = name
        remarks.append(Remark(name, reason))
    remarks.sort(key=lambda remark: remark.column != best)
    return best, remarks


def _find_constants(look: RowLook, taken: set[str]) -> list[Remark]:
    names = [name for name in look.names if name not in taken and is_constant(look.sample.column(name))]
    columns = ((name, look.whole(name)) for name in names[: look.most_whole])
    return [Remark(name, describe_constant(values)) for name, values in columns if is_constant(values)]


def _find_ids(look: RowLook, taken: set[str]) -> list[Remark]:
    names = [name for name in look.names if name not in taken and _may_be_unique(look, name)]
    columns = ((name, look.whole(name)) for name in names[: look.most_whole])
    return [Remark(name, describe_unique(values)) for name, values in columns if is_unique(name, values)]


def _may_be_unique(look: RowLook, name: str) -> bool:
    """True where the sample has another value in each row: then all rows are asked."""
    values = look.sample.column(name)
    return is_unique(name if look.is_whole else "id", values)


def _find_unreadable_dates(look: RowLook, taken: set[str]) -> list[Remark]:
    remarks = (unreadable_dates(name, look.sample.column(name)) for name in look.names if name not in taken)
    return [remark for remark in remarks if remark is not None]


def _find_sensitive(look: RowLook) -> tuple[Remark, ...]:
    attributes = {name: sensitive_attribute(name) for name in look.names}
    return tuple(
        Remark(name, f"suggests {attribute}") for name, attribute in attributes.items() if attribute is not None
    )


def _find_entities(look: RowLook, taken: set[str]) -> tuple[Remark, ...]:
    names = [name for name in look.names if name not in taken and is_entity_name(name)]
    remarks = (entity_remark(name, look.whole(name)) for name in names[:_MOST_TIMES])
    return tuple(remark for remark in remarks if remark is not None)


def _keep_a_feature(
    look: RowLook, useless: list[Remark], doubtful: list[Remark], time_column: str | None
) -> tuple[list[Remark], list[Remark]]:
    """The columns to ignore, and those that only a person can judge: all doubtful ones where nothing else is left."""
    others = set(look.names) - {remark.column for remark in (*useless, *doubtful)} - {time_column}
    return ([*useless, *doubtful], []) if others else (useless, doubtful)
