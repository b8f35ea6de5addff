"""Past remedies: the optimizations that failed to end a model's present trouble, as input of its diagnosis."""

import asyncio
from collections.abc import Sequence

import numpy as np

from optagent.domain.diagnosis import Remedy
from optagent.domain.model import CHAMPION
from optagent.domain.remedy_ladder import Attempt, Trouble, attempts_of, failures_of, remedies_of, trouble_of
from optagent.domain.rollout import AUTOMATIC
from optagent.domain.rollout_look import RolloutState
from optagent.errors import NotFound
from optagent.loop.champion import champion_of
from optagent.loop.observe.inputs import AnalysisInputs
from optagent.loop.observe.labelled_rows import count_labelled_rows, store_labelled_rows_since
from optagent.ports import Observations, Registry, Store

_MOST_OPTIMIZATIONS = 400
_PATIENCE = 2.0  # windows without an alert, since a single one can be luck


async def past_remedies(
    inputs: AnalysisInputs, store: Store, registry: Registry, observations: Observations
) -> tuple[Remedy, ...]:
    """The remedies tried without success since the trouble of the champion began; raises Unavailable.

    Empty for any other version, and where no optimization was attempted.
    """
    model_id = inputs.spec.model_id
    if inputs.command.version != CHAMPION:
        return ()
    attempts = attempts_of(await store.processes_of_kind(model_id, "optimize", _MOST_OPTIMIZATIONS))
    if not attempts:
        return ()
    champion = await asyncio.to_thread(champion_of, model_id, registry)
    made_at = 0.0 if champion is None else champion.created_at
    patience_s = _PATIENCE * inputs.monitoring.window_s
    trouble = trouble_of(await store.alerts(model_id), inputs.now, patience_s, made_at)
    turned_back = await _rollouts_turned_back(attempts, trouble, store)
    version = None if champion is None else champion.version
    failures = failures_of(attempts, trouble, version, turned_back, _median_answer_time(inputs))
    return await asyncio.to_thread(_remedies_of_failures, failures, trouble, inputs, observations)


def _median_answer_time(inputs: AnalysisInputs) -> float | None:
    """The median time of the labelled rows, None without any."""
    times = inputs.rows.time[inputs.rows.has_label]
    return float(np.median(times)) if len(times) else None


async def _rollouts_turned_back(attempts: Sequence[Attempt], trouble: Trouble, store: Store) -> set[str]:
    """The ids of the rollouts that were rolled back by the measurements, not by a person."""
    rollout_ids = set()
    for attempt in attempts:
        if attempt.rollout_id is None or attempt.at < trouble.since:
            continue
        try:
            rollout = await store.rollout(attempt.rollout_id)
        except NotFound:
            continue
        turned_back = rollout.state in (RolloutState.ROLLED_BACK, RolloutState.INCONCLUSIVE)
        if turned_back and rollout.transitions[-1].by == AUTOMATIC:
            rollout_ids.add(rollout.rollout_id)
    return rollout_ids


def _remedies_of_failures(
    failures: Sequence[Attempt], trouble: Trouble, inputs: AnalysisInputs, observations: Observations
) -> tuple[Remedy, ...]:
    spec, start = inputs.spec, trouble.since
    horizon_s = spec.label_delay_s
    if trouble.alerted:  # the rows that the first alert was raised on
        start -= inputs.monitoring.window_s + horizon_s
    counts: dict[float, int] = {}

    def rows_since(instant: float) -> int:
        if not counts:
            store_labelled_rows_since(observations, spec, inputs.reference.schema, start, inputs.now)
        if instant not in counts:
            counts[instant] = count_labelled_rows(observations, spec, instant)
        return counts[instant]

    def rows_until(instant: float) -> int:
        return rows_since(start) - rows_since(instant - horizon_s)

    return remedies_of(failures, inputs.now, rows_until)
