"""Evidence records of a rollout: a row for each row that the candidate was asked for, or might have been asked for.

"champion" and "candidate" are the roles in the rollout. They stay the same while baking, where the candidate answers
and the former champion is asked beside it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from optagent.arrays import Prediction
from optagent.domain.model import Task

CHAMPION, CANDIDATE = "champion", "candidate"

_FACTS = pa.schema(
    [
        ("id", pa.large_string()),
        ("time", pa.timestamp("us", "UTC")),
        ("rollout", pa.large_string()),
        ("state", pa.large_string()),
        ("step", pa.int32()),
        ("arm", pa.large_string()),
        ("share", pa.float64()),
        ("unit", pa.large_string()),
        ("version", pa.large_string()),
        ("failed", pa.bool_()),
        ("latency_ms", pa.float64()),
        ("champion_ms", pa.float64()),
    ]
)


class EvidenceRecord(NamedTuple):
    """The rows of one request, all of which were treated alike.

    `time` is the request's arrival in POSIX seconds. `arm` is the role that was drawn by the sticky key `unit`, and
    `share` the candidate's chance: 0 in shadow, 1 while baking. `version` is the version that answered. `failed` says
    that the candidate failed (it raised, answered no number, took more than its budget, or its process ended).
    `latency_ms` is the candidate's time and `champion_ms` the champion's, None for one that was not asked. Scores are
    those of `Predictor.scores`, None for a version that was not asked or failed.
    """

    ids: Sequence[str]
    time: float
    rollout: str
    state: str
    step: int
    arm: str
    share: float
    unit: str
    version: str
    failed: bool
    latency_ms: float | None
    champion: Prediction | None
    candidate: Prediction | None
    champion_ms: float | None = None


def count_outputs(task: Task, classes: Sequence[object]) -> int:
    """The number of scores of a row: one, or one for each class where there are more than two classes."""
    return len(classes) if task is Task.MULTICLASS else 1


def evidence_schema(outputs: int) -> pa.Schema:
    """The columns of evidence rows; scores are `champion_0`, `champion_1` … and `candidate_0` …

    >>> evidence_schema(1).names[-3:]
    ['champion_ms', 'champion_0', 'candidate_0']
    """
    scores = [pa.field(f"{role}_{at}", pa.float64()) for role in (CHAMPION, CANDIDATE) for at in range(outputs)]
    return pa.schema([*_FACTS, *scores])


def evidence_table(records: Sequence[EvidenceRecord], outputs: int) -> pa.Table:
    """The rows of all requests in order; scores of another width than `outputs` are left out as missing."""
    counts = [len(record.ids) for record in records]
    columns: list[pa.Array] = [
        pa.array([name for record in records for name in record.ids], pa.large_string()),
        _repeat_per_row([round(record.time * 1e6) for record in records], counts, pa.int64()).cast(
            pa.timestamp("us", "UTC")
        ),
    ]
    columns += [
        _repeat_per_row([getattr(record, field.name) for record in records], counts, field.type)
        for field in list(_FACTS)[2:]
    ]
    for role in (CHAMPION, CANDIDATE):
        columns += _score_columns((getattr(record, role) for record in records), counts, outputs)
    return pa.Table.from_arrays(columns, schema=evidence_schema(outputs))


def _repeat_per_row(values: Sequence[object], counts: Sequence[int], kind: pa.DataType) -> pa.Array:
    """The value of each request for each of its rows."""
    array = pa.array(values, kind)
    alone = all(count == 1 for count in counts)
    return array if alone else array.take(pa.array(np.repeat(np.arange(len(counts)), counts)))


def _score_columns(
    scores_by_request: Iterable[Prediction | None], counts: Sequence[int], outputs: int
) -> list[pa.Array]:
    rows = np.full((sum(counts), outputs), np.nan)
    start = 0
    for scores, count in zip(scores_by_request, counts, strict=True):
        if scores is not None and scores.size == count * outputs:
            rows[start : start + count] = scores.reshape(count, outputs)
        start += count
    return [pa.array(np.ascontiguousarray(column), pa.float64(), from_pandas=True) for column in rows.T]
