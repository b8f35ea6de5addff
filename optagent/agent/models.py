"""Model verbs: models are registered and changed, and their versions are listed, imported and given aliases."""

import asyncio
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from optagent.agent.acts import current_actor
from optagent.agent.base import AgentBase
from optagent.codec import model_from, revision_of
from optagent.domain.model import CHAMPION, ModelSpec, ModelVersion
from optagent.errors import Conflict, InvalidRequest, PreconditionFailed
from optagent.loop.train.import_model import import_model
from optagent.loop.train.study import check_spec
from optagent.training.version_warnings import version_warnings

_log = logging.getLogger(__name__)

# Fields of a model that can change without another meaning of its versions.
_CHANGEABLE = ("description", "families", "metric", "monitoring", "policy", "search_space")
_TRIES = 20  # each fails only because somebody else has changed the model
_ALIAS = re.compile(r"(?!latest$|v\d+$)[a-z][a-z0-9_-]{0,49}")  # MLflow keeps `latest` and `v1` for itself


class ModelVerbs(AgentBase):
    """Registers models, and lists them and their versions."""

    async def register_model(self, model: ModelSpec | Mapping[str, Any] | Path, replace: bool = True) -> ModelSpec:
        """Stores a model, given as a `ModelSpec`, as its fields, or as a YAML file of them.

        Raises InvalidRequest for an unknown field, family, metric or parameter, and, since the rows are read, for
        data that cannot be trained on. Without `replace`, raises Conflict where the id is taken: of several callers
        at once, one makes the model.
        """
        spec = _read_spec(model)
        return await self._perform("model.register", spec.model_id, self._register(spec, replace))

    async def update_model(
        self, model_id: str, changes: Mapping[str, Any], revisions: Collection[str] = ()
    ) -> ModelSpec:
        """Changes a model: `description`, `families`, `metric`, `monitoring`, `policy` or `search_space`.

        Fields of `monitoring` that are not given stay; None means the settings again. For any other change, register
        the model anew. A change that somebody else makes at the same time stays too. With `revisions` (`revision_of`)
        the stored model must be one of them: raises PreconditionFailed otherwise. Raises ModelNotFound and
        InvalidRequest, and Conflict where others change the model all the time.
        """
        revisions = (revisions,) if isinstance(revisions, str) else revisions
        work = self._update(model_id, changes, revisions)
        return await self._perform("model.update", model_id, work, changes=dict(changes))

    async def _register(self, spec: ModelSpec, replace: bool) -> ModelSpec:
        _check_model(spec)
        for note in await asyncio.to_thread(self._ports.check_data, spec):
            _log.warning("model %s: %s", spec.model_id, note)
        if replace:
            await self._ports.store.save_model(spec)
        else:
            await self._create(spec)
        return spec

    async def _create(self, spec: ModelSpec) -> None:
        """Makes a model; one that an earlier request under the same idempotency key made is there already."""
        try:
            await self._ports.store.create_model(spec)
        except Conflict:
            if not current_actor().act_id or await self._ports.store.model(spec.model_id) != spec:
                raise

    async def _update(self, model_id: str, changes: Mapping[str, Any], revisions: Collection[str]) -> ModelSpec:
        for _ in range(_TRIES):
            before = await self._ports.store.model(model_id)
            spec = self._change_spec(before, changes)
            if revisions and revision_of(before) not in revisions:
                raise PreconditionFailed(f"model {model_id!r} was changed since: its revision is {revision_of(before)}")
            try:
                await self._ports.store.replace_model(spec, before)
            except Conflict as error:
                conflict = error
                continue
            return spec
        raise conflict

    def _change_spec(self, spec: ModelSpec, changes: Mapping[str, Any]) -> ModelSpec:
        fixed = sorted(set(changes) - set(_CHANGEABLE))
        if fixed:
            raise InvalidRequest(f"{', '.join(fixed)}: cannot be changed; one of {list(_CHANGEABLE)}")
        values = dict(changes)
        if isinstance(values.get("monitoring"), Mapping):
            values["monitoring"] = {**_fields(self._ports.monitoring_of(spec)), **values["monitoring"]}
        new_spec = model_from({**_fields(spec), **values})
        _check_model(new_spec)
        return new_spec

    async def models(self) -> list[ModelSpec]:
        """All registered models, by id."""
        return await self._ports.store.models()

    async def model(self, model_id: str) -> ModelSpec:
        """The model of that id; raises ModelNotFound."""
        return await self._ports.store.model(model_id)

    async def versions(self, model_id: str) -> list[ModelVersion]:
        """The versions of a model, the newest first, with warnings about those in use."""
        await self._ports.store.model(model_id)
        versions = await asyncio.to_thread(self._ports.registry.versions, model_id)
        return [replace(version, warnings=version_warnings(version)) for version in versions]

    async def set_alias(self, model_id: str, alias: str, version: str) -> ModelVersion:
        """Moves an alias to a version, which may be given by another alias.

        Raises ModelNotFound, and Conflict for `champion` while a rollout is active, which decides about it.
        """
        work = self._set_alias(model_id, alias, version)
        return await self._perform("model.alias", model_id, work, alias=alias, version=version)

    async def _set_alias(self, model_id: str, alias: str, version: str) -> ModelVersion:
        await self._ports.store.model(model_id)
        if not _ALIAS.fullmatch(alias):
            raise InvalidRequest(f"alias {alias!r}: up to 50 of a-z, 0-9, '_', '-', not `latest` or `v1`")
        if alias == CHAMPION:
            for rollout in await self._ports.store.rollouts(model_id, limit=1):
                if rollout.state.is_active:
                    raise Conflict(f"rollout {rollout.rollout_id} of {model_id!r} is {rollout.state}: end it first")
        return await asyncio.to_thread(self._move_alias, model_id, alias, version)

    async def import_model(self, uri: str, model_id: str, trust_pickle: bool = False) -> ModelVersion:
        """Makes an MLflow model (`models:/NAME/3`, `runs:/ID/path` or a folder) a version of a registered model.

        Its first version becomes champion. A model kept as a pickle is refused unless `trust_pickle`: then it is opened
        once, in a process without secrets. Raises InvalidRequest or InvalidData with the reason for a refusal.
        """
        work = self._import_model(uri, model_id, trust_pickle)
        return await self._perform("model.import", model_id, work, uri=uri, trust_pickle=trust_pickle)

    async def _import_model(self, uri: str, model_id: str, trust_pickle: bool) -> ModelVersion:
        spec = await self._ports.store.model(model_id)
        return await asyncio.to_thread(import_model, spec, uri, self._ports, trust_pickle)

    def _move_alias(self, model_id: str, alias: str, version: str) -> ModelVersion:
        registry = self._ports.registry
        number = registry.version(model_id, version).version
        registry.set_alias(model_id, alias, number)
        return registry.version(model_id, number)


def _check_model(spec: ModelSpec) -> None:
    """Raises InvalidRequest for a specification or gates that are not valid."""
    check_spec(spec)
    if spec.policy is not None and spec.policy.gates:
        from optagent.loop.gates.evaluate import gates_for  # what it imports takes a second

        try:
            gates_for(spec.policy.gates, spec)
        except InvalidRequest as error:
            raise InvalidRequest(f"policy: gates: {error}") from None


def _fields(noun: Any) -> dict[str, Any]:
    return {field.name: getattr(noun, field.name) for field in fields(noun)}


def _read_spec(model: ModelSpec | Mapping[str, Any] | Path) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    if not isinstance(model, Path):
        return model_from(model)
    if not model.exists():
        raise InvalidRequest(f"{model}: no such file: optagent init ID ROWS --target COLUMN writes one")
    try:
        fields = yaml.safe_load(model.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRequest(f"{model}: cannot be read as YAML: {error}") from None
    return model_from(fields, folder=model.absolute().parent)
