"""Traffic of a model: its rows a day and their dependence, from recorded predictions and the champion's reference."""

import numpy as np

from optagent.arrays import Vector
from optagent.domain.rollout_policy import Traffic
from optagent.loop.observe.reference import Reference
from optagent.loop.rollout.evidence import RowLoss
from optagent.ports import Observations
from optagent.sequential.anytime_t import have_block_effects

_DAY_S = 86_400.0
_SPANS_S = (2 * _DAY_S, 14 * _DAY_S, 90 * _DAY_S)
_ENOUGH_ROWS = 200


def find_traffic(model_id: str, reference: Reference, loss: RowLoss, observations: Observations) -> Traffic | None:
    """The traffic of the newest days with enough rows; None where predictions of less than a day are recorded.

    Rows are looked at no further back than needed, 90 days at most. The champion's losses on its reference tell whether
    days matter.
    """
    newest = observations.latest_prediction_time(model_id)
    if newest is None:
        return None
    for span_s in _SPANS_S:
        times = _prediction_times(model_id, newest - span_s, newest, observations)
        known_s = newest - float(times.min()) if len(times) else 0.0
        if len(times) >= _ENOUGH_ROWS and known_s >= _DAY_S:
            break
    if known_s < _DAY_S:
        return None
    return Traffic(len(times) / known_s * _DAY_S, have_day_effects(reference, loss))


def have_day_effects(reference: Reference, loss: RowLoss) -> bool:
    """True where the champion's losses of one day have more in common than chance explains."""
    rows = reference.observed
    losses = loss(rows.y, rows.prediction.reshape(len(rows), -1))
    usable = np.isfinite(losses) & np.isfinite(rows.time)
    return have_block_effects(losses[usable], np.floor(rows.time[usable] / _DAY_S))


def _prediction_times(model_id: str, start: float, end: float, observations: Observations) -> Vector:
    """The times of the recorded predictions in POSIX seconds, in no order; `end` counts."""
    tables = observations.predictions(model_id, start, end + 1e-6)
    parts = [table["time"].to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6 for table in tables]
    return np.concatenate([np.zeros(0), *parts])
