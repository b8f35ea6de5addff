"""Batch scoring on a Ray cluster: its workers give the same bits as threads, and name a bad row by its place."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.cluster.ray_workers import RayWorkers
from optagent.domain.model import Task
from optagent.errors import InvalidData
from optagent.loop.score.tables import score_by_workers, score_in_threads
from optagent.mixing.learner import MixtureLearner
from optagent.serving.batch_scorer import BatchScorer, recipe_of
from optagent.serving.engine import ServedModel
from optagent.serving.onnx_engine import OnnxEngine
from optagent.serving.onnx_graph import Graph
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema

SCHEMA = Schema((FeatureColumn("a", Kind.NUMERIC),), "label", Task.BINARY, ("no", "yes"))
VERSIONS = ("1", "2", "3")
WEIGHTS = MixtureLearner(Task.BINARY, ("champion", "all", "1/4")).weights(VERSIONS)


def sigmoid_model(name: str, weight: float) -> ServedModel:
    graph = Graph(1)
    margin = graph.add("Mul", graph.cast(graph.rows, 64), graph.constant(np.float64(weight)))
    return ServedModel(SCHEMA, OnnxEngine(graph.model(graph.add("Sigmoid", margin), 1), 1, 1), name)


def tables(count: int, bad: int | None = None) -> Iterator[pa.Table]:
    rng = np.random.default_rng(0)
    for number in range(count):
        values = rng.normal(size=1_000)
        if number == bad:
            values[7] = np.inf
        yield pa.table({"a": values, "id": np.arange(1_000)})


def test_workers_of_a_cluster_give_the_bits_of_threads(ray_cluster: Any) -> None:
    models = {name: sigmoid_model(name, weight) for name, weight in zip(VERSIONS, (1.0, -1.0, 0.5), strict=True)}
    scorer, recipe = BatchScorer("1", models, WEIGHTS), recipe_of("1", models, WEIGHTS)
    assert recipe is not None
    workers = RayWorkers(ray_cluster)
    here = [scores for _, scores in score_in_threads(scorer, tables(21), 2)]
    there = list(score_by_workers(recipe, tables(21), workers))
    assert [table["a"].to_pylist() for table, _ in there] == [table["a"].to_pylist() for table in tables(21)]
    for mine, (_, theirs) in zip(here, there, strict=True):
        np.testing.assert_array_equal(mine.scores, theirs.scores)
        assert mine.said is not None
        assert theirs.said is not None
        np.testing.assert_array_equal(mine.said.said, theirs.said.said)
    with pytest.raises(InvalidData, match=r"from row 12,000 on, which is row 0 here: column 'a': the number in row 7"):
        list(score_by_workers(recipe, tables(21, bad=12), workers))
