"""Served mixture: the loaded versions of a mixture's slots, asked one after the other, and their one answer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Prediction
from optagent.domain.mixture import MIXTURE, MixtureWeights
from optagent.mixing.scorer import MixtureScorer
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import count_outputs
from optagent.serving.fusion import Fusion
from optagent.serving.mixture_record import SEPARATOR, SaidRecord
from optagent.serving.row_reader import RowReader

Array = npt.NDArray[np.float64]


class MixtureMember(NamedTuple):
    """A version of a mixture: the places of its slots, and the number of its row reader among those that differ."""

    name: str
    model: ServedModel
    places: tuple[int, ...]
    reader: int


class MixedScores(NamedTuple):
    """The scores of the mixture as `Predictor.scores`, and what is recorded with them."""

    scores: Prediction
    said: SaidRecord


class ServedMixture:
    """The mixture of some weights. `reference_model` is the champion's, or another where that one is not loaded.

    The reader of the reference is the first of `readers`: it decides which rows are valid. `answer_model` formats
    answers under the name of the mixture, `record_model` records them under that of the champion.
    """

    def __init__(
        self, weights: MixtureWeights, champion: str, reference: ServedModel, models: Mapping[str, ServedModel]
    ) -> None:
        self.reference_model = reference
        self.answer_model = reference.copy_as(MIXTURE)
        self.record_model = reference if reference.version == champion else reference.copy_as(champion)
        self.slots = weights.slots
        self.readers: list[RowReader] = [reference.reader]
        self.weights = weights
        self._text = SEPARATOR.join(weights.slots)
        self._scorer = MixtureScorer(weights)
        self.members = self._find_members(models)
        self.fusion = Fusion([member.model for member in self.members])

    def mix(self, slot_scores: Array) -> MixedScores | None:
        """The answer to scores (rows, slots, outputs), NaN for those of a slot that does not answer; None for none."""
        answer = self._scorer.mix(slot_scores)
        if not math.isfinite(np.add.reduce(answer.scores, axis=None)):
            return None
        return MixedScores(answer.scores, SaidRecord(self._text, self.weights.digest, answer.said))

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
        return np.full((rows, len(self.slots), self.weights.outputs), np.nan)

    def fill_scores(
        self, slot_scores: Array, members: Sequence[MixtureMember], matrices: Sequence[Matrix | None]
    ) -> None:
        """Asks versions, and writes what they answer to the places of their slots."""
        for member, scores in zip(members, self._score_all(members, matrices), strict=True):
            fill_places(slot_scores, member, scores)

    def _score_all(
        self, members: Sequence[MixtureMember], matrices: Sequence[Matrix | None]
    ) -> Sequence[Prediction | None]:
        """The scores of each, in one call where all of the mixture's versions are asked and their engines are fused."""
        x, fusion = matrices[0], self.fusion
        if fusion.engine is not None and x is not None and len(members) == len(fusion.fuses):
            try:
                return fusion.engine.scores_of_each(x)
            except Exception:  # noqa: S110 - each alone, so that one that fails does not fail the others
                pass
        return [score_member(member, matrices) for member in members]

    def _find_members(self, models: Mapping[str, ServedModel]) -> tuple[MixtureMember, ...]:
        """Each version once that is loaded and answers as the reference does."""
        reference = self.reference_model
        columns = [reference.schema.columns]
        members: list[MixtureMember] = []
        for name in dict.fromkeys(self.weights.versions):
            model = models.get(name)
            if model is None or not _answer_alike(model, reference):
                continue
            if model.schema.columns not in columns:
                columns.append(model.schema.columns)
                self.readers.append(model.reader)
            places = tuple(at for at, other in enumerate(self.weights.versions) if other == name)
            members.append(MixtureMember(name, model, places, columns.index(model.schema.columns)))
        return tuple(members)


def find_reference(weights: MixtureWeights | None, champion: str, models: Mapping[str, ServedModel]) -> str | None:
    """The name of the version whose reader decides about rows; None where weights do not fit the loaded versions."""
    if weights is None:
        return None
    named = [name for name in (champion, *weights.versions) if name in models]
    if not named or models[named[0]].task is not weights.task:
        return None
    model = models[named[0]]
    return named[0] if count_outputs(model.task, model.classes) == weights.outputs else None


def score_member(member: MixtureMember, matrices: Sequence[Matrix | None]) -> Prediction | None:
    """The scores of a version; None where it fails, whatever it raises."""
    x = matrices[member.reader]
    try:
        return None if x is None else member.model.engine.scores(x)
    except Exception:
        return None


def fill_places(slot_scores: Array, member: MixtureMember, scores: Prediction | None) -> None:
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


def drop_no_numbers(slot_scores: Array) -> npt.NDArray[np.bool_] | None:
    """Writes NaN for what is no finite number; the mask of these (rows, slots, outputs), None where there is none."""
    if math.isfinite(np.add.reduce(slot_scores, axis=None)):
        return None
    missing: npt.NDArray[np.bool_] = ~np.isfinite(slot_scores)
    slot_scores[missing] = np.nan
    return missing


def _answer_alike(model: ServedModel, reference: ServedModel) -> bool:
    return model.task is reference.task and model.classes == reference.classes
