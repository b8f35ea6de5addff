"""Model parts: models that another model contains, each in a folder below it and with the name of its family."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optagent.domain.model import Task
from optagent.errors import CorruptBundle, InvalidRequest
from optagent.training.families.family import Family, FittedModel
from optagent.training.families.names import is_ours

PARTS = "parts.json"


@dataclass(frozen=True, slots=True)
class ModelPart:
    """A trained model and the name of its family."""

    family: str
    model: FittedModel


def save_parts(folder: Path, parts: Mapping[str, ModelPart]) -> None:
    """Writes the parts in their order; the folders have numbers, since a part's name may be invalid for a folder."""
    entries = []
    for number, (name, part) in enumerate(parts.items()):
        part_folder = folder / f"part{number}"
        part_folder.mkdir()
        part.model.save(part_folder)
        entries.append({"name": name, "family": part.family})
    (folder / PARTS).write_text(json.dumps(entries, indent=1), encoding="utf-8")


def load_parts(folder: Path, task: Task, n_classes: int, ours: Mapping[str, Family]) -> dict[str, ModelPart]:
    """The parts that `save_parts` wrote; raises CorruptBundle, also for a family that is not in `ours`, by name, since
    to load a part of a user's family would import it."""
    parts = {}
    for number, (name, family) in enumerate(_read_part_list(folder / PARTS)):
        if family not in ours:
            raise CorruptBundle(f"{folder / PARTS}: {name!r} is of the family {family!r}, which is not one of ours")
        parts[name] = ModelPart(family, ours[family].load(folder / f"part{number}", task, n_classes))
    return parts


def check_part(name: str, family: str) -> None:
    """Raises InvalidRequest for a model that could not be loaded again as a part."""
    if not is_ours(family):
        raise InvalidRequest(f"{name}: a model of a family of your own ({family}) cannot be part of another model")


def _read_part_list(path: Path) -> list[tuple[str, str]]:
    try:
        entries: Any = json.loads(path.read_text(encoding="utf-8"))
        parts = [(str(entry["name"]), str(entry["family"])) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorruptBundle(f"{path}: not a list of parts: {error}") from error
    if not parts or len({name for name, _ in parts}) != len(parts):
        raise CorruptBundle(f"{path}: parts with different names are needed, got {[name for name, _ in parts]}")
    return parts
