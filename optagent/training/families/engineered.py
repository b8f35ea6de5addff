"""Models with a feature plan: they take encoded rows like any model, and compute the plan's columns first."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from optagent.arrays import Matrix, Prediction, Vector
from optagent.codec import decode, encode
from optagent.domain.model import Task
from optagent.errors import CorruptBundle, InvalidRequest
from optagent.training.families.family import Family
from optagent.training.families.loaded_only import LoadedOnly
from optagent.training.families.parts import ModelPart, check_part, load_parts, save_parts
from optagent.training.plan import FeaturePlan
from optagent.training.transform import Transformer

PLAN = "plan.json"
_INNER = "model"


class Engineered(LoadedOnly):
    """The family of models with a feature plan; `optagent features` searches for plans and tests them."""

    name = "engineered"
    why = "a model with a plan of features is not trained as it is: tune the model, its champion's plan is kept"

    def __init__(self, ours: Mapping[str, Family]) -> None:
        """`ours` are the families by name of which parts may be; it may hold this one too."""
        self._ours = ours

    def load(self, folder: Path, task: Task, n_classes: int) -> "EngineeredModel":
        try:
            plan = decode(FeaturePlan, json.loads((folder / PLAN).read_text(encoding="utf-8")))
        except (OSError, ValueError, InvalidRequest) as error:
            raise CorruptBundle(f"{PLAN}: {error}") from error
        parts = load_parts(folder, task, n_classes, self._ours)
        if set(parts) != {_INNER}:
            raise CorruptBundle(f"{PLAN}: one part named {_INNER!r} is needed, got {sorted(parts)}")
        return EngineeredModel(plan, parts[_INNER])


class EngineeredModel:
    """A model with a plan: `inner` predicts from the columns that the plan computes from the encoded ones."""

    def __init__(self, plan: FeaturePlan, inner: ModelPart) -> None:
        self.plan = plan
        self.inner = inner
        self._transform = Transformer(plan)

    def predict(self, x: Matrix) -> Prediction:
        return self.inner.model.predict(self._transform(x))

    def save(self, folder: Path) -> None:
        check_part(self.inner.family, self.inner.family)
        (folder / PLAN).write_bytes(encode(self.plan))
        save_parts(folder, {_INNER: self.inner})

    def importances(self) -> Vector:
        """The inner model's importances; that of a computed column is shared equally among its sources."""
        inner = self.inner.model.importances()
        place = {name: index for index, name in enumerate(self.plan.columns)}
        importances = np.zeros(len(place))
        kept_columns = self.plan.kept_columns
        importances[[place[name] for name in kept_columns]] = inner[: len(kept_columns)]
        for step, importance in zip(self.plan.steps, inner[len(kept_columns) :], strict=True):
            for name in step.columns:
                importances[place[name]] += importance / len(step.columns)
        return importances
