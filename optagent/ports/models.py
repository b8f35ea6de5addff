"""Where versions of models are kept, and how those of others come in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from optagent.domain.model import ModelSpec, ModelVersion
from optagent.training.encoding import Schema
from optagent.training.imported import ConvertedModel


class Registry(Protocol):
    """Keeps versions of models, each one bundle."""

    def register(
        self, model_id: str, bundle: Path, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> ModelVersion:
        """A new version, whole or not at all; raises CorruptBundle for a folder that is not a sound bundle."""
        ...

    def set_alias(self, model_id: str, alias: str, version: str) -> None:
        """Moves `alias` to `version`, in one step; raises ModelNotFound."""
        ...

    def version(self, model_id: str, alias_or_version: str) -> ModelVersion:
        """Raises ModelNotFound."""
        ...

    def versions(self, model_id: str) -> list[ModelVersion]:
        """The newest first; empty where there are none."""
        ...

    def fetch(self, version: ModelVersion, into: Path) -> Path:
        """The version's bundle as a folder below `into`; raises CorruptBundle where its digest is another."""
        ...


class Importer(Protocol):
    """Converts models that were trained elsewhere. It never runs code of theirs in this process."""

    def convert(
        self, uri: str, spec: ModelSpec, target: Schema, rows: pa.Table, into: Path, trust_pickle: bool = False
    ) -> ConvertedModel:
        """The model at `uri` as one of a family's, with what it predicts for `rows` where it comes from.

        Scratch files go into the folder `into`. A pickle is opened only with `trust_pickle`, in a process without
        secrets. Raises InvalidRequest for what cannot be converted, InvalidData for columns or classes that do not fit,
        CorruptBundle for a file that cannot be opened, NotFound and Unavailable.
        """
        ...
