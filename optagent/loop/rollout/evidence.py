"""Rollout losses: the loss of each version on the rows that gateways recorded, once their labels are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from optagent.analysis.label_join import Index, deduplicate_rows, join_labels
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.rollout_evidence import GuardedRequests, PairedLosses, SplitLosses, over_budget
from optagent.arrays import Mask, Vector
from optagent.domain.model import Task
from optagent.domain.rollout import Rollout
from optagent.domain.rollout_look import RolloutState
from optagent.domain.rollout_policy import ERRORS, SLOW
from optagent.loop.observe.window_rows import labels_of
from optagent.serving.evidence_record import CANDIDATE, CHAMPION, evidence_schema
from optagent.training.encoding import Schema
from optagent.training.live_values import column_named
from optagent.training.metrics import quantile_of

RowScores = npt.NDArray[np.float64]

_LARGEST_ERROR = 0.999  # quantile of the champion's errors on its reference, beyond which an error costs no more
_ABSOLUTE = frozenset({"mae", "median_ae"})
_MEDIAN = 0.5
_SAME_TIME_US = 2_500_000  # before and after a request, the time in which a slow machine would make the champion slow


@dataclass(frozen=True, slots=True)
class RowLoss:
    """Loss function of a rollout: the loss of each labelled row; its mean is lowest for the best model.

    Classifiers: the Brier score, half the squared distance between probabilities and truth, which for two classes is
    (p - y)². It is proper, so no wrong probability can look better than the right one, and bounded, so that a single
    row cannot settle a comparison, as an infinite log loss would.

    Regressions: the squared error, which is lowest for the best forecast of the mean; the absolute error where the
    model's metric asks for the median, and the pinball loss where it asks for another `quantile`. Errors above
    `largest` count as `largest`: the mean of unlimited squares is not near enough to normal for an interval. The limit
    is fixed before the rollout, and the same for both versions.
    """

    task: Task
    power: int = 2
    largest: float = np.inf
    quantile: float = 0.5

    def __call__(self, y: Vector, scores: RowScores) -> Vector:
        """(rows,) losses of (rows, outputs) scores; NaN without a label, and where a score is not finite."""
        if self.task is Task.REGRESSION:
            errors = y - scores[:, 0]
            losses = np.minimum(np.abs(errors), self.largest) ** self.power
            if self.quantile != _MEDIAN:
                losses *= np.where(errors > 0, self.quantile, 1 - self.quantile)
        elif self.task is Task.BINARY:
            losses = np.clip(np.square(scores[:, 0] - y), 0.0, 1.0)
        else:
            truth = np.arange(scores.shape[1]) == y[:, None]
            losses = np.clip(np.square(scores - truth).sum(axis=1) / 2, 0.0, 1.0)
        return np.where(np.isnan(y) | ~np.isfinite(scores).all(axis=1), np.nan, losses)


def row_loss(task: Task, metric: str, reference: ObservedRows) -> RowLoss:
    """The loss by which a rollout is judged; the champion's errors on its reference set the largest error."""
    if task is not Task.REGRESSION:
        return RowLoss(task)
    errors = np.abs(reference.y - reference.prediction)
    errors = errors[np.isfinite(errors)]
    largest = float(np.quantile(errors, _LARGEST_ERROR)) if len(errors) else 0.0
    quantile = quantile_of(metric)
    power = 1 if metric in _ABSOLUTE or quantile is not None else 2
    return RowLoss(task, power, largest if largest > 0 else np.inf, _MEDIAN if quantile is None else quantile)


def loss_moments(loss: RowLoss, reference: ObservedRows) -> tuple[float, float]:
    """The mean and the spread of the champion's losses on its reference; NaN where no row has a label."""
    losses = loss(reference.y, reference.prediction.reshape(len(reference), -1))
    labelled = losses[~np.isnan(losses)]
    return (float(labelled.mean()), float(labelled.std())) if len(labelled) else (float("nan"), float("nan"))


@dataclass(frozen=True, slots=True, eq=False)
class RolloutRows:
    """The rows of one rollout, each id once, in the order of time and then of ids.

    `state` are texts as in `RolloutState`. `drawn` marks the rows whose arm was the candidate, `asked` the rows that
    were sent to the candidate (on split traffic those of its arm, otherwise all), and `failed` those of them for which
    it gave no number. Scores are (rows, outputs), NaN where there are none; `unit` (rows,) numbers the sticky keys, and
    `request` (rows,) the requests: rows that came at the same time for the same key.
    """

    ids: pa.LargeStringArray
    time_us: Index
    state: npt.NDArray[np.object_]
    drawn: Mask
    share: Vector
    unit: Index
    asked: Mask
    failed: Mask
    latency_ms: Vector
    champion_ms: Vector
    request: Index
    champion: RowScores
    candidate: RowScores

    def __len__(self) -> int:
        return len(self.time_us)


def read_rollout_rows(tables: Sequence[pa.Table], rollout_id: str, outputs: int) -> RolloutRows:
    """The evidence in recorded tables; rows of other rollouts, without an id or without a time are left out."""
    rows = _concat_rows(tables, rollout_id, evidence_schema(outputs))
    distinct = deduplicate_rows([rows])
    rows = rows.take(pa.array(distinct.row)).combine_chunks()
    drawn = _equals(rows, "arm", CANDIDATE)
    state = rows["state"].to_numpy()
    candidate = _scores(rows, CANDIDATE, outputs)
    asked = drawn | (state != RolloutState.RAMP)
    reported = pc.fill_null(rows["failed"], False).to_numpy().astype(np.bool_)
    units = pc.coalesce(rows["unit"], rows["id"]).combine_chunks().dictionary_encode()
    unit = units.indices.to_numpy().astype(np.int64)
    return RolloutRows(
        ids=distinct.ids,
        time_us=distinct.time_us,
        state=state,
        drawn=drawn,
        share=_numbers(rows, "share"),
        unit=unit,
        asked=asked,
        failed=asked & (reported | ~np.isfinite(candidate).all(axis=1)),
        latency_ms=_numbers(rows, "latency_ms"),
        champion_ms=_numbers(rows, "champion_ms"),
        request=_number_requests(distinct.time_us, unit),
        champion=_scores(rows, CHAMPION, outputs),
        candidate=candidate,
    )


def _number_requests(time_us: Index, unit: Index) -> Index:
    """The number of each row's request."""
    _, request = np.unique(np.column_stack([time_us, unit]), axis=0, return_inverse=True)
    return request.reshape(-1)


def labels_for(evidence: RolloutRows, labels: Sequence[pa.Table], schema: Schema) -> Vector:
    """(rows,) class indexes or values: the latest label of each id, NaN where there is no usable one."""
    return join_labels(evidence.ids, evidence.time_us, labels_of(labels, schema)).y


def rollout_losses(
    evidence: RolloutRows, y: Vector, loss: RowLoss, rollout: Rollout, now: float
) -> PairedLosses | SplitLosses | None:
    """The losses of the rows of the rollout's state, None after its end.

    Where the candidate failed, the champion answers: so the champion's loss counts, and a guardrail counts the failure.
    A row that the champion did not answer has no loss (NaN). On split traffic a row's loss is that of the version that
    answered, and its arm the one that was drawn.
    """
    if not rollout.state.is_active:
        return None
    rows = np.flatnonzero(evidence.state == rollout.state)
    if rollout.state is RolloutState.RAMP:
        rows = rows[(evidence.share[rows] > 0) & (evidence.share[rows] < 1)]
    matured = evidence.time_us[rows] / 1e6 + rollout.policy.label_delay_s <= now
    champion, candidate = loss(y[rows], evidence.champion[rows]), loss(y[rows], evidence.candidate[rows])
    failed, drawn = evidence.failed[rows], evidence.drawn[rows]
    if rollout.state is RolloutState.RAMP:
        losses, times = np.where(drawn & ~failed, candidate, champion), evidence.time_us[rows] / 1e6
        both = np.where(np.isnan(champion) | (np.isnan(candidate) & ~failed), np.nan, champion)
        paired = PairedLosses(both, np.where(failed | np.isnan(both), both, candidate), matured, times)
        return SplitLosses(drawn, evidence.share[rows], losses, matured, evidence.unit[rows], paired)
    candidate = np.where(failed | np.isnan(champion), champion, candidate)
    return PairedLosses(champion, candidate, matured, evidence.time_us[rows] / 1e6)


def guarded_requests(evidence: RolloutRows, rollout: Rollout) -> GuardedRequests:
    """The requests that the candidate was asked for, in any state, with the flags of each guardrail.

    The rows of one request were answered together and count once. One that took longer than the budget counts as slow
    and not as an error, since it may have been cut off for that; and as slow only as far as the champion was not: by
    its time for the same request or else, on split traffic, for the requests of the same seconds.
    """
    first = _first_rows_of_requests(evidence)
    asked = first[evidence.asked[first]]
    failed_rows = np.unique(evidence.request[evidence.failed])
    failed = np.isin(evidence.request[asked], failed_rows)
    budget_ms, latency = rollout.policy.budget_ms, evidence.latency_ms[asked]
    excused = _champion_slowness(evidence, first, asked, budget_ms)
    flags = {
        ERRORS: (failed & ~(latency > budget_ms)).astype(np.float64),
        SLOW: over_budget(latency, budget_ms) * (1 - excused),
    }
    return GuardedRequests(evidence.time_us[asked] / 1e6, flags)


def _first_rows_of_requests(evidence: RolloutRows) -> Index:
    """The first row of each request, in the order of time."""
    _, first = np.unique(evidence.request, return_index=True)
    return np.sort(first)


def _champion_slowness(evidence: RolloutRows, first: Index, asked: Index, budget_ms: float) -> Vector:
    """The share of the champion's requests, of those to compare each asked one with, that took longer than the budget.

    0 where the champion's time is not known, as in evidence of older versions.
    """
    timed = first[~np.isnan(evidence.champion_ms[first])]
    slow = np.concatenate([[0.0], np.cumsum(over_budget(evidence.champion_ms[timed], budget_ms))])
    times, around = evidence.time_us[timed], evidence.time_us[asked]
    begin, end = (
        np.searchsorted(times, around - _SAME_TIME_US),
        np.searchsorted(times, around + _SAME_TIME_US, side="right"),
    )
    nearby = (slow[end] - slow[begin]) / np.maximum(1, end - begin)
    own = evidence.champion_ms[asked]
    return np.where(np.isnan(own), nearby, own > budget_ms)


def _concat_rows(tables: Sequence[pa.Table], rollout_id: str, schema: pa.Schema) -> pa.Table:
    parts = [schema.empty_table()]
    for table in tables:
        rows = table.filter(pc.equal(table["rollout"], rollout_id))
        columns = [column_named(rows, field.name) for field in schema]
        parts.append(
            pa.table(
                [
                    pa.nulls(rows.num_rows, field.type) if column is None else column.cast(field.type)
                    for field, column in zip(schema, columns, strict=True)
                ],
                schema=schema,
            )
        )
    return pa.concat_tables(parts)


def _equals(rows: pa.Table, name: str, value: str) -> Mask:
    return pc.fill_null(pc.equal(rows[name], value), False).to_numpy().astype(np.bool_)


def _numbers(rows: pa.Table, name: str) -> Vector:
    return pc.fill_null(rows[name], np.nan).to_numpy().astype(np.float64)


def _scores(rows: pa.Table, role: str, outputs: int) -> RowScores:
    return np.column_stack([_numbers(rows, f"{role}_{index}") for index in range(outputs)])
