"""Worker warm-up: a process of Ray imports what trials need, while the rows of a search are still being read."""

import contextlib
from collections.abc import Sequence

import numpy as np

from optagent.domain.model import Task
from optagent.training.families.names import is_ours
from optagent.training.families.registry import family_named
from optagent.training.problem import Data

_ROWS = 40


def load_trial_libraries(task: Task, families: Sequence[str]) -> None:
    """Imports the trainable and the libraries of our families."""
    import optagent.adapters.search.trainable  # noqa: F401

    load_families(task, families)


def load_families(task: Task, families: Sequence[str]) -> None:
    """Imports the libraries of our families, by a training on a few rows.

    A family of the user's is left to its trials, whose limits it keeps; errors are theirs to report, too.
    """
    rows = np.arange(_ROWS)
    x = np.random.default_rng(0).normal(size=(_ROWS, 2)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.float64)
    data = Data(x, y, ("a", "b"), task, n_classes=2 if task.classifies else 0)
    for name in filter(is_ours, families):
        with contextlib.suppress(Exception):
            family = family_named(name)
            family.start(family.defaults(task), data, rows, rows).advance(1)
