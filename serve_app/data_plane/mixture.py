"""Mixture of a routing table: the loaded versions of its slots, which are asked together, and their one answer."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Prediction
from optagent.domain.mixture import MIXTURE, MixtureWeights
from optagent.mixing.scorer import MixtureScorer
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import count_outputs
from optagent.serving.mixture_record import SEPARATOR, SaidRecord
from optagent.serving.row_reader import RowReader
from serve_app.data_plane.fusion import Fusion
from serve_app.data_plane.metrics import ModelMetrics
from serve_app.data_plane.payloads import PredictionRequest
from serve_app.data_plane.version import Version

FEW_ROWS = 256
"""Up to so many rows are scored sooner than they are handed to a thread. The budget of a table is for so many."""

Array = npt.NDArray[np.float64]
RunInThread = Callable[..., Awaitable[Any]]


class MixtureMember(NamedTuple):
    """A version of a mixture: the places of its slots, and the number of its row reader among those that differ."""

    version: Version
    places: tuple[int, ...]
    reader: int


class MixedScores(NamedTuple):
    """The scores of the mixture as `Predictor.scores`, and what is recorded with them."""

    scores: Prediction
    said: SaidRecord


class MixtureRoute:
    """The mixture of one table. `reference` is the champion, or another version where that one is not loaded.

    The reader of the reference is the first of `readers`: it decides which rows are valid. `answer_model` formats
    answers under the name of the mixture, `record_model` records them under that of the champion.
    """

    def __init__(
        self, weights: MixtureWeights, champion: str, reference: Version, versions: Mapping[str, Version]
    ) -> None:
        self.reference = reference
        self.answer_model = reference.model.copy_as(MIXTURE)
        self.record_model = (
            reference.model if reference.model.version == champion else reference.model.copy_as(champion)
        )
        self.slots = weights.slots
        self.readers: list[RowReader] = [reference.model.reader]
        self._weights = weights
        self._text = SEPARATOR.join(weights.slots)
        self._scorer = MixtureScorer(weights)
        self.members = self._find_members(versions)
        self.blocks = any(member.version.blocks for member in self.members)
        self.fusion = Fusion([member.version.model for member in self.members])

    def mix(self, slot_scores: Array) -> MixedScores | None:
        """The answer to scores (rows, slots, outputs), NaN for those of a slot that does not answer; None for none."""
        answer = self._scorer.mix(slot_scores)
        if not math.isfinite(np.add.reduce(answer.scores, axis=None)):
            return None
        return MixedScores(answer.scores, SaidRecord(self._text, self._weights.digest, answer.said))

    def read(self, rows: Any) -> list[Matrix | None]:
        """The matrix of each reader, None for one that refuses rows that the first reader takes.

        Raises InvalidData where the first reader refuses them.
        """
        matrices: list[Matrix | None] = [self.readers[0].read(rows)]
        for reader in self.readers[1:]:
            try:
                matrices.append(reader.read(rows))
            except Exception:  # a version that needs other columns fails as one that raises does
                matrices.append(None)
        return matrices

    def empty_scores(self, rows: int) -> Array:
        """(rows, slots, outputs), NaN throughout."""
        return np.full((rows, len(self.slots), self._weights.outputs), np.nan)

    def _find_members(self, versions: Mapping[str, Version]) -> tuple[MixtureMember, ...]:
        """Each version once that is loaded and answers as the reference does."""
        reference = self.reference.model
        columns = [reference.schema.columns]
        members: list[MixtureMember] = []
        for name in dict.fromkeys(self._weights.versions):
            version = versions.get(name)
            if version is None or not _answer_alike(version.model, reference):
                continue
            if version.model.schema.columns not in columns:
                columns.append(version.model.schema.columns)
                self.readers.append(version.model.reader)
            places = tuple(at for at, other in enumerate(self._weights.versions) if other == name)
            members.append(MixtureMember(version, places, columns.index(version.model.schema.columns)))
        return tuple(members)


def find_mixture(weights: MixtureWeights | None, champion: str, versions: Mapping[str, Version]) -> MixtureRoute | None:
    """The mixture of these weights; None where there are none, or where they do not fit the loaded versions."""
    if weights is None:
        return None
    named = [versions[name] for name in (champion, *weights.versions) if name in versions]
    if not named or named[0].model.task is not weights.task:
        return None
    model = named[0].model
    if count_outputs(model.task, model.classes) != weights.outputs:
        return None
    return MixtureRoute(weights, champion, named[0], versions)


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
    asked = [member for member in mixture.members if member.version.breaker.allows(now)]
    slot_scores = mixture.empty_scores(request.size)
    if few and not mixture.blocks:
        _fill_scores(slot_scores, asked, matrices, mixture.fusion)
    else:
        until = now + budget_s * max(1.0, request.size / FEW_ROWS)
        in_thread = None if few else run_in_thread
        await _ask_in_threads(slot_scores, asked, matrices, mixture.fusion, until, in_thread)
    _count_outcomes(mixture, asked, slot_scores, metrics, now)
    return mixture.mix(slot_scores) if few else await run_in_thread(mixture.mix, slot_scores)


async def _ask_in_threads(
    slot_scores: Array,
    asked: Sequence[MixtureMember],
    matrices: Sequence[Matrix | None],
    fusion: Fusion,
    until: float,
    run_in_thread: RunInThread | None,
) -> None:
    """Fills in the scores of versions. Each that blocks is asked in its own thread, until then at most.

    The others are asked by `run_in_thread`, or on the event loop without it.
    """
    loop = asyncio.get_running_loop()
    waiting = {
        loop.run_in_executor(member.version.pool, _score, member, matrices): member
        for member in asked
        if member.version.blocks
    }
    try:
        quick = [member for member in asked if not member.version.blocks]
        if run_in_thread is None:
            _fill_scores(slot_scores, quick, matrices, fusion)
        elif quick:
            await run_in_thread(_fill_scores, slot_scores, quick, matrices, fusion)
        if waiting:
            await asyncio.wait(waiting, timeout=max(0.0, until - time.monotonic()))
    finally:
        for future in waiting:
            future.cancel()  # one that has not begun never will
    for future, member in waiting.items():
        if not future.cancelled():
            _fill(slot_scores, member, future.result())


def _fill_scores(
    slot_scores: Array, members: Sequence[MixtureMember], matrices: Sequence[Matrix | None], fusion: Fusion
) -> None:
    for member, scores in zip(members, _score_all(members, matrices, fusion), strict=True):
        _fill(slot_scores, member, scores)


def _score_all(
    members: Sequence[MixtureMember], matrices: Sequence[Matrix | None], fusion: Fusion
) -> Sequence[Prediction | None]:
    """The scores of each, in one call where all of the mixture's versions are asked and their engines are fused."""
    x = matrices[0]
    if fusion.engine is not None and x is not None and len(members) == len(fusion.fuses):
        try:
            return fusion.engine.scores_of_each(x)
        except Exception:  # noqa: S110 - each alone, so that one that fails does not fail the others
            pass
    return [_score(member, matrices) for member in members]


def _score(member: MixtureMember, matrices: Sequence[Matrix | None]) -> Prediction | None:
    """The scores of a version; None where it fails, whatever it raises."""
    x = matrices[member.reader]
    try:
        return None if x is None else member.version.model.engine.scores(x)
    except Exception:
        return None


def _fill(slot_scores: Array, member: MixtureMember, scores: Prediction | None) -> None:
    """Writes scores to the places of a version; those of another shape are no answer."""
    rows, _, outputs = slot_scores.shape
    if scores is None:
        return
    if outputs == 1 and scores.shape == (rows,):
        for place in member.places:
            slot_scores[:, place, 0] = scores
    elif scores.shape == (rows, outputs):
        for place in member.places:
            slot_scores[:, place] = scores


def _count_outcomes(
    mixture: MixtureRoute,
    asked: Sequence[MixtureMember],
    slot_scores: Array,
    metrics: ModelMetrics,
    now: float,
) -> None:
    """Counts slots that did not answer every row, with NaN for what is no number. A version fails that answers none."""
    if math.isfinite(np.add.reduce(slot_scores, axis=None)):
        for member in asked:
            member.version.breaker.failures = 0
        return
    missing = ~np.isfinite(slot_scores)
    slot_scores[missing] = np.nan
    for at in np.flatnonzero(missing.any(axis=(0, 2))).tolist():
        slot = mixture.slots[at]
        metrics.slot_failures[slot] = metrics.slot_failures.get(slot, 0) + 1
    for member in asked:
        member.version.breaker.count(not missing[:, member.places[0]].any(axis=1).all(), now)


def _answer_alike(model: ServedModel, reference: ServedModel) -> bool:
    return model.task is reference.task and model.classes == reference.classes
