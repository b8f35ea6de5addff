"""Model ports: the registry of versions, and the import of models trained elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from optagent.domain.model import ModelSpec, ModelVersion
from optagent.training.encoding import Schema
from optagent.training.imported import ConvertedModel


class Registry(Protocol):
    """Keeps the versions of models, each as one bundle."""

    def register(
        self, model_id: str, bundle: Path, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> ModelVersion:
        """Registers a new version, completely or not at all; raises CorruptBundle where `bundle` is not a sound one."""
        ...

    def set_alias(self, model_id: str, alias: str, version: str) -> None:
        """Moves `alias` to `version`, in one step; raises ModelNotFound."""
        ...

    def version(self, model_id: str, alias_or_version: str) -> ModelVersion:
        """The version of that alias or number; raises ModelNotFound."""
        ...

    def versions(self, model_id: str) -> list[ModelVersion]:
        """All versions of a model, the newest first; empty where there are none."""
        ...

    def delete_version(self, version: ModelVersion) -> None:
        """Deletes a version and its bundle; nothing happens where it is gone. Its number is not given again."""
        ...

    def fetch(self, version: ModelVersion, into: Path) -> Path:
        """Copies the version's bundle into a folder below `into`; raises CorruptBundle where its digest differs."""
        ...


class Importer(Protocol):
    """Converts models that were trained elsewhere. It never runs their code in this process."""

    def convert(
        self, uri: str, spec: ModelSpec, target: Schema, rows: pa.Table, into: Path, trust_pickle: bool = False
    ) -> ConvertedModel:
        """The model at `uri` converted to one of the families, with the original model's predictions for `rows`.

        Scratch files go into the folder `into`. A pickle is opened only with `trust_pickle`, in a process without
        secrets. Raises InvalidRequest for a model that cannot be converted, InvalidData for columns or classes that do
        not fit, CorruptBundle for a file that cannot be opened, NotFound and Unavailable.
        """
        ...
