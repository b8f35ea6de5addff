"""Scored rows: the answered rows of a model that may teach its intervals, each with the score of its outcome."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from optagent.analysis.label_join import CountedRows, deduplicate_rows, join_labels
from optagent.arrays import Prediction, Rows, Vector
from optagent.conformal.scores import nonconformity_scores
from optagent.domain.model import ModelSpec, Task
from optagent.loop.observe.window_rows import EARLY_LABELS_S, labels_of
from optagent.ports import Observations
from optagent.training.encoding import Schema
from optagent.training.live_answers import encode_predictions

MOST_ROWS = 20_000
"""The answered rows that a pass follows; of more, those with the least hash of their ids, whatever their outcome."""

UNKNOWN_DELAY_S = 7 * 86_400.0
"""The time for which a label is waited for where the model names no label horizon."""

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRows:
    """Answered rows in the order of time and then of ids.

    `hashes` (rows,) are those of their ids, and `scores` (rows,) those of their outcomes, NaN where none is known.
    """

    hashes: Hashes
    time_us: Rows
    scores: Vector

    def __len__(self) -> int:
        return len(self.hashes)


def read_scored_rows(observations: Observations, spec: ModelSpec, schema: Schema, start: float) -> ScoredRows:
    """The rows that were answered since `start` (POSIX seconds), whoever answered; rows without a usable answer are
    left out."""
    tables = observations.predictions(spec.model_id, start, np.inf)
    distinct = deduplicate_rows(tables)
    hashes = _hash_ids(distinct.ids)
    if len(hashes) > MOST_ROWS:
        sample = np.sort(np.argsort(hashes, kind="stable")[:MOST_ROWS])
        distinct, hashes = distinct.select(sample), hashes[sample]
    answers, usable = _gather_answers(tables, distinct, schema)
    labels = labels_of(observations.labels(spec.model_id, start - EARLY_LABELS_S), schema)
    y = join_labels(distinct.ids, distinct.time_us, labels).y
    scores = np.full(len(distinct), np.nan)
    labelled = np.flatnonzero(usable & np.isfinite(y))
    scores[labelled] = nonconformity_scores(schema.task, answers[labelled], y[labelled])
    return ScoredRows(hashes[usable], distinct.time_us[usable], scores[usable])


def waiting_time_s(spec: ModelSpec) -> float:
    """Seconds after which a row without a label is given up: a day more than the label horizon, 7 days without one."""
    return spec.label_delay_s + EARLY_LABELS_S if spec.label_delay_s else UNKNOWN_DELAY_S


def pack_hashes(hashes: Hashes) -> str:
    """Hashes as base64 text."""
    return base64.b64encode(hashes.astype("<u8").tobytes()).decode()


def unpack_hashes(text: str) -> Hashes:
    """The hashes of a text by `pack_hashes`."""
    return np.frombuffer(base64.b64decode(text), dtype="<u8").astype(np.uint64)


def _hash_ids(ids: pa.LargeStringArray) -> Hashes:
    return pd.util.hash_array(ids.to_numpy(zero_copy_only=False).astype(object), categorize=False)


def _gather_answers(
    tables: Sequence[pa.Table], distinct: CountedRows, schema: Schema
) -> tuple[Prediction, npt.NDArray[np.bool_]]:
    """The answers of chosen rows, as `Predictor.scores`, and the mask of those that are usable."""
    width = (len(schema.classes),) if schema.task is Task.MULTICLASS else ()
    answers, usable = np.full((len(distinct), *width), np.nan), np.zeros(len(distinct), dtype=np.bool_)
    for index, table in enumerate(tables):
        places = np.flatnonzero(distinct.table == index)
        if len(places):
            answers[places], usable[places] = encode_predictions(table.take(pa.array(distinct.row[places])), schema)
    return answers, usable
