"""Ensemble models: several models that predict as one, bundled, loaded and served like any other model."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from optagent.arrays import Matrix, Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import CorruptBundle, InvalidRequest
from optagent.training.combined import Combined, combine, from_json, to_json
from optagent.training.families.family import Family
from optagent.training.families.loaded_only import LoadedOnly
from optagent.training.families.parts import ModelPart, check_part, load_parts, save_parts

WEIGHTS = "weights.json"


class Ensemble(LoadedOnly):
    """The family of ensembles; `optagent ensemble` searches for the weights and trains the members."""

    name = "ensemble"
    why = "an ensemble is not trained as one model: name its base models to `optagent ensemble`"

    def __init__(self, ours: Mapping[str, Family]) -> None:
        """`ours` are the families by name of which parts may be; it may hold this one too."""
        self._ours = ours

    def load(self, folder: Path, task: Task, n_classes: int) -> "EnsembleModel":
        try:
            combined = from_json((folder / WEIGHTS).read_text(encoding="utf-8"))
            return EnsembleModel(combined, load_parts(folder, task, n_classes, self._ours))
        except (OSError, UnicodeDecodeError, InvalidRequest) as error:
            raise CorruptBundle(f"{WEIGHTS}: {error}") from error


class EnsembleModel:
    """Members by name and the rule that combines their predictions; InvalidRequest where the two name other models."""

    def __init__(self, combined: Combined, members: Mapping[str, ModelPart]) -> None:
        if set(combined.names) != set(members):
            raise InvalidRequest(f"weights of {sorted(combined.names)}, models of {sorted(members)}")
        self.combined = combined
        self.members = {name: members[name] for name in combined.names}

    def predict(self, x: Matrix) -> Prediction:
        predictions = {name: member.model.predict(x) for name, member in self.members.items()}
        return combine(self.combined, predictions, x)

    def save(self, folder: Path) -> None:
        for name, member in self.members.items():
            check_part(name, member.family)
        (folder / WEIGHTS).write_bytes(to_json(self.combined))
        save_parts(folder, self.members)

    def importances(self) -> Vector:
        """The weighted mean of the members' importances."""
        weights = np.abs(self.combined.weights)
        total: Vector = sum(
            weight * member.model.importances() for weight, member in zip(weights, self.members.values(), strict=True)
        )
        return total / (total.sum() or 1.0)
