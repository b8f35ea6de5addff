"""Batch scorer: tables of rows to scores, by one version or by a mixture, bit for bit as a gateway scores a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from optagent.arrays import Prediction
from optagent.domain.mixture import MixtureWeights
from optagent.errors import EngineFailed, OptAgentError
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import count_outputs
from optagent.serving.forest_engine import find_fast_engine
from optagent.serving.mixture_record import SaidRecord
from optagent.serving.onnx_engine import OnnxEngine
from optagent.serving.served_mixture import MixedScores, ServedMixture, drop_no_numbers, find_reference
from optagent.training.encoding import Schema


class BatchScores(NamedTuple):
    """The scores of a table's rows as `Predictor.scores`; `said` is set where the mixture answered.

    `missing` are the numbers of rows that slots did not answer, by slot.
    """

    scores: Prediction
    said: SaidRecord | None = None
    missing: Mapping[str, int] = {}


class BatchScorer:
    """Scores tables by the `models` of these versions; threads may share it.

    The mixture of the weights answers where these fit the models. Where it has no answer, `alone` answers: the
    champion, or another version of the mixture where that one is not loaded.
    """

    def __init__(self, champion: str, models: Mapping[str, ServedModel], weights: MixtureWeights | None = None) -> None:
        reference = find_reference(weights, champion, models)
        self.mixture: ServedMixture | None = None
        if weights is not None and reference is not None:
            self.mixture = ServedMixture(weights, champion, models[reference], models)
        self.alone = models[champion if champion in models else next(iter(models))]

    @property
    def schema(self) -> Schema:
        """The schema by which rows are read."""
        return self.alone.schema if self.mixture is None else self.mixture.reference_model.schema

    @property
    def most_rows(self) -> int:
        """The rows of a table at most."""
        return self.alone.reader.most_rows

    def empty_scores(self) -> BatchScores:
        """The scores of no rows."""
        outputs = count_outputs(self.alone.task, self.alone.classes)
        return BatchScores(np.empty(0) if outputs == 1 else np.empty((0, outputs)))

    def score(self, rows: pa.Table) -> BatchScores:
        """The scores of rows that have the columns of the schema, and others, which are ignored.

        Raises InvalidData for rows that break a rule, and EngineFailed where no version answers.
        """
        rows = rows.select(list(self.schema.names))
        if self.mixture is None:
            return BatchScores(self._score_alone(rows))
        mixed, missing = self._mix(self.mixture, rows)
        if mixed is None:
            return BatchScores(self._score_alone(rows), None, missing)
        return BatchScores(mixed.scores, mixed.said, missing)

    def answer_model(self, scores: BatchScores) -> ServedModel:
        """The model that formats these scores as answers."""
        return self.alone if self.mixture is None or scores.said is None else self.mixture.answer_model

    def record_model(self, scores: BatchScores) -> ServedModel:
        """The model under whose version these scores are recorded."""
        return self.alone if self.mixture is None or scores.said is None else self.mixture.record_model

    def _mix(self, mixture: ServedMixture, rows: pa.Table) -> tuple[MixedScores | None, Mapping[str, int]]:
        """The mixture's answer, and the numbers of rows that slots left out of it did not answer."""
        matrices = mixture.read(rows)
        slot_scores = mixture.empty_scores(rows.num_rows)
        mixture.fill_scores(slot_scores, mixture.members, matrices)
        missing = drop_no_numbers(slot_scores)
        if missing is None:
            return mixture.mix(slot_scores), {}
        counts = missing.any(axis=2).sum(axis=0).tolist()
        return mixture.mix(slot_scores), {
            slot: count for slot, count in zip(mixture.slots, counts, strict=True) if count
        }

    def _score_alone(self, rows: pa.Table) -> Prediction:
        x = self.alone.reader.read(rows)
        try:
            return self.alone.scores(x)
        except OptAgentError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise EngineFailed(f"version {self.alone.version} does not answer: {reason}") from error


def make_scorer(champion: str, models: Mapping[str, ServedModel], weights: MixtureWeights | None) -> BatchScorer:
    """A scorer with the engines that are the fastest for thousands of rows; takes as long as loading the models."""
    fast = {}
    for name, model in models.items():
        fast[name] = model.copy_as(model.version)
        fast[name].engine = find_fast_engine(model.engine, len(model.schema.columns))
    scorer = BatchScorer(champion, fast, weights)
    if scorer.mixture is not None and scorer.mixture.fusion.is_possible:
        scorer.mixture.fusion.make()
    return scorer


@dataclass(frozen=True)
class ScorerRecipe:
    """The parts of a scorer of compiled versions, as values that another process can be sent.

    `graphs` are the schema and the ONNX graph of each version, by its name.
    """

    champion: str
    graphs: Mapping[str, tuple[Schema, bytes]]
    weights: MixtureWeights | None
    most_rows: int

    @cached_property
    def scorer(self) -> BatchScorer:
        """The scorer of this process, which is made once; it is not for a recipe that is still to be sent."""
        models = {}
        for name, (schema, graph) in self.graphs.items():
            engine = OnnxEngine(graph, len(schema.columns), count_outputs(schema.task, schema.classes))
            models[name] = ServedModel(schema, engine, name, self.most_rows)
        return make_scorer(self.champion, models, self.weights)


def recipe_of(champion: str, models: Mapping[str, ServedModel], weights: MixtureWeights | None) -> ScorerRecipe | None:
    """The recipe of a scorer of these models; None where one is not compiled, or where its graph is too large."""
    graphs = {name: model.engine.graph for name, model in models.items() if isinstance(model.engine, OnnxEngine)}
    if len(graphs) < len(models) or not all(graphs.values()):
        return None
    most_rows = min(model.reader.most_rows for model in models.values())
    return ScorerRecipe(champion, {name: (models[name].schema, graphs[name]) for name in models}, weights, most_rows)
