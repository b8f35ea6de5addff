"""A model behind a plan of features: rows come as for any model, and become what the model learned from."""

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
    """Plans are found, and proven, by `optagent features`."""

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
    """`inner` answers for the columns that the plan makes of the encoded ones."""

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
        """What a generated column has, its sources share."""
        inner = self.inner.model.importances()
        place = {name: index for index, name in enumerate(self.plan.columns)}
        found = np.zeros(len(place))
        kept = self.plan.kept
        found[[place[name] for name in kept]] = inner[: len(kept)]
        for step, importance in zip(self.plan.steps, inner[len(kept) :], strict=True):
            for name in step.columns:
                found[place[name]] += importance / len(step.columns)
        return found
