"""Model family of the arena: the product's LightGBM with the recipe of the other entrants as its defaults."""

from collections.abc import Mapping
from typing import Any

from optagent.domain.model import Task
from optagent.training.families.lightgbm_family import LightGBM
from tests.performance.arena.calendars import LEARNING_RATE, LEAVES, ROUNDS

NAME = "tests.performance.arena.plain_family:PlainLightGBM"


class PlainLightGBM(LightGBM):
    """LightGBM that starts from the arena's recipe; a replay without a search trains it and nothing else."""

    default_rounds = ROUNDS

    def defaults(self, task: Task) -> Mapping[str, Any]:
        return {**super().defaults(task), "learning_rate": LEARNING_RATE, "num_leaves": LEAVES}
