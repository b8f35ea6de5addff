"""Worlds in which the truth is known: what each model says is a part of it and some noise."""

from collections.abc import Callable

import numpy as np
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.ensembles.members import Members, members_of

VIEWS = 6


@pytest.fixture(scope="session")
def library() -> Callable[..., Members]:
    """Members that each see some of six causes, and noise of their own."""

    def make(task: Task = Task.BINARY, models: int = 5, rows: int = 400, seed: int = 0, **costs) -> Members:  # type: ignore[no-untyped-def]
        rng = np.random.default_rng(seed)
        causes = rng.normal(size=(rows, VIEWS))
        views_of_model = rng.random((models, VIEWS)) < 0.6
        noise = 0.3 * rng.normal(size=(models, rows, 3))
        if task is Task.MULTICLASS:
            logits = causes.reshape(rows, 3, 2).sum(axis=2)
            y = (logits + rng.gumbel(size=(rows, 3))).argmax(axis=1).astype(np.float64)
            views = [
                (causes * mask).reshape(rows, 3, 2).sum(axis=2) + part
                for mask, part in zip(views_of_model, noise, strict=True)
            ]
            predictions = [np.exp(view) / np.exp(view).sum(axis=1, keepdims=True) for view in views]
        else:
            signal = causes.sum(axis=1)
            views = [causes @ mask + part[:, 0] for mask, part in zip(views_of_model, noise, strict=True)]
            if task is Task.REGRESSION:
                y, predictions = signal + rng.normal(size=rows), views
            else:
                y = (rng.random(rows) < sigmoid(signal)).astype(np.float64)
                predictions = [sigmoid(view) for view in views]
        return members_of(
            task, {f"m{index:02d}": prediction for index, prediction in enumerate(predictions)}, y, **costs
        )

    return make


@pytest.fixture(scope="session")
def spec() -> Callable[..., ModelSpec]:
    def make(task: Task = Task.BINARY, **fields) -> ModelSpec:  # type: ignore[no-untyped-def]
        return ModelSpec("m", task, FileSource("/x.csv"), "y", **fields)

    return make


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
