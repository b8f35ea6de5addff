"""The verbs of models and their versions."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from optagent.agent.desk import Desk
from optagent.codec import model_from
from optagent.domain.model import ModelSpec
from optagent.domain.version import ModelVersion
from optagent.errors import InvalidRequest
from optagent.loop.importing import import_model
from optagent.loop.optimize import check_spec


class ModelVerbs(Desk):
    """Registers models, and lists them and their versions."""

    async def register_model(self, model: ModelSpec | Mapping[str, Any] | Path) -> ModelSpec:
        """Stores a model, or replaces it: a `ModelSpec`, its fields, or a YAML file of them.

        Raises InvalidRequest for an unknown field, family, metric or parameter, and, since the rows are read, for
        data that cannot be trained on.
        """
        spec = _spec(model)
        check_spec(spec)
        await asyncio.to_thread(self._outside.check_data, spec)
        await self._store.save_model(spec)
        return spec

    async def models(self) -> list[ModelSpec]:
        """All registered models, by id."""
        return await self._store.models()

    async def model(self, model_id: str) -> ModelSpec:
        """Raises ModelNotFound."""
        return await self._store.model(model_id)

    async def versions(self, model_id: str) -> list[ModelVersion]:
        """The versions of a model, the newest first."""
        await self._store.model(model_id)
        return await asyncio.to_thread(self._outside.registry.versions, model_id)

    async def import_model(self, uri: str, model_id: str, trust_pickle: bool = False) -> ModelVersion:
        """Makes an MLflow model (`models:/NAME/3`, `runs:/ID/path` or a folder) a version of a registered model.

        Its first version becomes champion. A model kept as a pickle is refused unless `trust_pickle`: then it is opened
        once, in a process without secrets. Raises InvalidRequest or InvalidData with the reason for a refusal.
        """
        spec = await self._store.model(model_id)
        return await asyncio.to_thread(import_model, spec, uri, self._outside, trust_pickle)


def _spec(model: ModelSpec | Mapping[str, Any] | Path) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    if not isinstance(model, Path):
        return model_from(model)
    try:
        fields = yaml.safe_load(model.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRequest(f"{model}: cannot be read as YAML: {error}") from None
    return model_from(fields, folder=model.absolute().parent)
