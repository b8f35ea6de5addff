"""Mixture of a routing table: the loaded versions of its slots, which are asked together, and their one answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np

from optagent.arrays import Matrix
from optagent.domain.mixture import MixtureWeights
from optagent.serving.served_mixture import (
    Array,
    MixedScores,
    MixtureMember,
    ServedMixture,
    drop_no_numbers,
    fill_places,
    find_reference,
    score_member,
)
from serve_app.data_plane.metrics import ModelMetrics
from serve_app.data_plane.payloads import PredictionRequest
from serve_app.data_plane.version import Version

FEW_ROWS = 256
"""Up to so many rows are scored sooner than they are handed to a thread. The budget of a table is for so many."""

RunInThread = Callable[..., Awaitable[Any]]


class MixtureRoute(ServedMixture):
    """The mixture of one table, with the loaded versions by name; `reference` is that of the reference model."""

    def __init__(
        self, weights: MixtureWeights, champion: str, reference: Version, versions: Mapping[str, Version]
    ) -> None:
        super().__init__(
            weights, champion, reference.model, {name: version.model for name, version in versions.items()}
        )
        self.reference = reference
        self.versions = versions
        self.blocks = any(versions[member.name].blocks for member in self.members)


def find_mixture(weights: MixtureWeights | None, champion: str, versions: Mapping[str, Version]) -> MixtureRoute | None:
    """The mixture of these weights; None where there are none, or where they do not fit the loaded versions."""
    reference = find_reference(weights, champion, {name: version.model for name, version in versions.items()})
    if weights is None or reference is None:
        return None
    return MixtureRoute(weights, champion, versions[reference], versions)


async def score_mixture(
    mixture: MixtureRoute,
    request: PredictionRequest,
    budget_s: float,
    metrics: ModelMetrics,
    run_in_thread: RunInThread,
) -> MixedScores | None:
    """Asks the versions of all slots, and mixes what they answer; None where none does.

    A version that fails, is late or answers no number is left out, and is not asked for some seconds where that happens
    again and again. Versions whose engines block are asked at the same time, and have `budget_s` for each 256 rows
    after the rows are read. Raises InvalidData for rows that break a rule of the champion.
    """
    few = request.small and request.size * len(mixture.members) <= FEW_ROWS
    matrices = mixture.read(request.rows) if few else await run_in_thread(mixture.read, request.rows)
    now = time.monotonic()
    asked = [member for member in mixture.members if mixture.versions[member.name].breaker.allows(now)]
    slot_scores = mixture.empty_scores(request.size)
    if few and not mixture.blocks:
        mixture.fill_scores(slot_scores, asked, matrices)
    else:
        until = now + budget_s * max(1.0, request.size / FEW_ROWS)
        in_thread = None if few else run_in_thread
        await _ask_in_threads(slot_scores, asked, matrices, mixture, until, in_thread)
    _count_outcomes(mixture, asked, slot_scores, metrics, now)
    return mixture.mix(slot_scores) if few else await run_in_thread(mixture.mix, slot_scores)


async def _ask_in_threads(
    slot_scores: Array,
    asked: Sequence[MixtureMember],
    matrices: Sequence[Matrix | None],
    mixture: MixtureRoute,
    until: float,
    run_in_thread: RunInThread | None,
) -> None:
    """Fills in the scores of versions. Each that blocks is asked in its own thread, until then at most.

    The others are asked by `run_in_thread`, or on the event loop without it.
    """
    loop, versions = asyncio.get_running_loop(), mixture.versions
    waiting = {
        loop.run_in_executor(versions[member.name].pool, score_member, member, matrices): member
        for member in asked
        if versions[member.name].blocks
    }
    try:
        quick = [member for member in asked if not versions[member.name].blocks]
        if run_in_thread is None:
            mixture.fill_scores(slot_scores, quick, matrices)
        elif quick:
            await run_in_thread(mixture.fill_scores, slot_scores, quick, matrices)
        if waiting:
            await asyncio.wait(waiting, timeout=max(0.0, until - time.monotonic()))
    finally:
        for future in waiting:
            future.cancel()  # one that has not begun never will
    for future, member in waiting.items():
        if not future.cancelled():
            fill_places(slot_scores, member, future.result())


def _count_outcomes(
    mixture: MixtureRoute,
    asked: Sequence[MixtureMember],
    slot_scores: Array,
    metrics: ModelMetrics,
    now: float,
) -> None:
    """Counts slots that did not answer every row, with NaN for what is no number. A version fails that answers none."""
    missing = drop_no_numbers(slot_scores)
    if missing is None:
        for member in asked:
            mixture.versions[member.name].breaker.failures = 0
        return
    for at in np.flatnonzero(missing.any(axis=(0, 2))).tolist():
        slot = mixture.slots[at]
        metrics.slot_failures[slot] = metrics.slot_failures.get(slot, 0) + 1
    for member in asked:
        answered = not missing[:, member.places[0]].any(axis=1).all()
        mixture.versions[member.name].breaker.count(answered, now)
