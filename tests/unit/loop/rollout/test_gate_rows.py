"""Gate rows: what shadow goes on from is the comparison of this very model with this very champion."""

from pathlib import Path

import numpy as np
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.domain.model import Task
from optagent.loop.rollout.evidence import RowLoss
from optagent.loop.rollout.gate_rows import read_gate_rows
from optagent.loop.train.build import build_recipe
from optagent.loop.train.holdout import HoldoutTest
from optagent.training.metrics import metric_named
from optagent.training.recipe import Recipe
from tests.unit.loop.gates.test_rival import GATES, prepared, register

__all__ = ["prepared"]


@pytest.fixture
def registry() -> InMemoryRegistry:
    return InMemoryRegistry(ManualClock(1.0))


def test_rows_that_the_champion_has_learned_are_left_out(registry, prepared, tmp_path: Path):
    test = HoldoutTest(prepared, metric_named("log_loss", Task.BINARY), 0.05, 0)
    champion = register(registry, prepared, tmp_path, 849)
    model = build_recipe(Recipe("r", "linear", {}, 20), prepared, 1, 1).model
    rows = read_gate_rows(champion, model, GATES, test, registry)

    assert rows is not None
    assert rows.champion.shape == rows.candidate.shape == (150, 1)
    evidence = rows.sum_up(RowLoss(Task.BINARY), 0.05)
    assert evidence.count * evidence.block <= 150
    difference = RowLoss(Task.BINARY)(rows.y, rows.champion) - RowLoss(Task.BINARY)(rows.y, rows.candidate)
    whole = evidence.count * evidence.block
    assert evidence.origin + evidence.total / evidence.count == pytest.approx(np.mean(difference[:whole]), abs=1e-12)


def test_there_are_none_where_another_version_stands_for_the_champion(registry, prepared, tmp_path: Path):
    test = HoldoutTest(prepared, metric_named("log_loss", Task.BINARY), 0.05, 0, before_refit=True)
    twin = register(registry, prepared, tmp_path, 799)
    champion = register(registry, prepared, tmp_path, 999, twin=twin.version)
    model = build_recipe(Recipe("r", "linear", {}, 20), prepared, 1, 1).model

    assert read_gate_rows(champion, model, GATES, test, registry) is None


def test_too_few_rows_are_none(registry, prepared, tmp_path: Path):
    test = HoldoutTest(prepared, metric_named("log_loss", Task.BINARY), 0.05, 0)
    champion = register(registry, prepared, tmp_path, 920)
    model = build_recipe(Recipe("r", "linear", {}, 20), prepared, 1, 1).model

    assert read_gate_rows(champion, model, GATES, test, registry) is None
