"""JSON codec: frozen dataclasses to and from plain data, which pydantic and the classes check on decoding."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from optagent.domain.dataset import DataSource, FileSource, SqlSource
from optagent.domain.fold_scheme import FoldScheme
from optagent.domain.history import HistorySpec
from optagent.domain.model import ModelSpec
from optagent.domain.monitoring import Monitoring
from optagent.domain.policy import RetrainingPolicy, policy_named
from optagent.domain.trading import Trading
from optagent.errors import InvalidRequest
from optagent.secret_text import hide_secrets

if TYPE_CHECKING:  # the command line starts without pydantic
    from pydantic import TypeAdapter

T = TypeVar("T")
_SECRETS = re.compile(r"(?<=://)(.*@)?([^?]*).*", re.DOTALL)  # a login, which may hold any character, and a query

_ADAPTERS: "dict[Any, TypeAdapter[Any]]" = {}


def _adapter(kind: Any) -> "TypeAdapter[Any]":
    """The pydantic adapter of a type, built once: building takes milliseconds."""
    if kind not in _ADAPTERS:
        from pydantic import TypeAdapter

        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def encode(value: Any) -> bytes:
    """JSON of a frozen dataclass."""
    return _adapter(type(value)).dump_json(value)


def plain(value: Any) -> Any:
    """A frozen dataclass as dicts, lists and scalars that JSON can hold."""
    return _adapter(type(value)).dump_python(value, mode="json")


def without_secrets(value: T) -> T:
    """A value as people may see it: all its texts are without the passwords and queries of URLs.

    Works on nouns, on mappings, lists and tuples of them, and on plain data. Digests and comparisons need the value
    itself.
    """
    return cast(T, _without_secrets(value))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return hide_secrets(value) if type(value) is str else value  # a StrEnum has names of ours
    if dataclasses.is_dataclass(value) and not isinstance(value, type):  # results of verbs are mappings too
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        hidden = {name: _without_secrets(item) for name, item in fields.items()}
        changes = {name: item for name, item in hidden.items() if item != fields[name]}
        return dataclasses.replace(value, **changes) if changes else value
    if isinstance(value, Mapping):
        return {_without_secrets(key): _without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return tuple(_without_secrets(item) for item in value) if type(value) is tuple else value


def decode(kind: type[T], data: bytes | str | Mapping[str, Any]) -> T:
    """A `kind` object; InvalidRequest names the field and the rule, and lists the known fields for an unknown one."""
    from pydantic import ValidationError

    try:
        if isinstance(data, bytes | str):
            return _adapter(kind).validate_json(data)
        return _adapter(kind).validate_python(_check_field_names(kind, data))
    except ValidationError as error:
        raise InvalidRequest("; ".join(_error_text(item) for item in error.errors(include_url=False))) from None


@cache
def shape_of(kind: type[Any]) -> bytes:
    """The normalised JSON schema of a type: equal for two types whose JSON has the same form.

    Data that another version of optagent wrote may have another one. Fields, their types and their limits count; names
    of classes and docstrings do not.
    """
    schema = _adapter(kind).json_schema()
    return json.dumps(_without_names(schema, schema.get("$defs", {})), sort_keys=True).encode()


def _without_names(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A JSON schema with all references resolved, and without titles and descriptions of types."""
    if isinstance(schema, list):
        return [_without_names(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].removeprefix("#/$defs/")], **schema}
    facts = {key: value for key, value in schema.items() if key not in ("$defs", "$ref", "title", "description")}
    fields = {name: _without_names(field, definitions) for name, field in facts.pop("properties", {}).items()}
    return {"properties": fields, **{key: _without_names(value, definitions) for key, value in facts.items()}}


def model_from(data: Mapping[str, Any], folder: Path | None = None) -> ModelSpec:
    """The model that a user describes: `id` stands for `model_id`, `data` is a path, `{uri, format}` or `{url, query}`,
    and `policy` is a name or the fields of one.

    A relative path is resolved against `folder`, or the working folder, and kept as an absolute one.
    """
    if not isinstance(data, Mapping):
        raise InvalidRequest(f"a model is a mapping of fields, got {type(data).__name__}")
    fields = dict(data)
    if "id" in fields:
        fields["model_id"] = fields.pop("id")
    if isinstance(fields.get("monitoring"), Mapping):
        fields["monitoring"] = _monitoring_from(fields["monitoring"])
    if "folds" in fields:
        fields["folds"] = _folds_from(fields["folds"])
    if isinstance(fields.get("history"), Mapping):
        fields["history"] = decode(HistorySpec, fields["history"])
    if isinstance(fields.get("policy"), str):
        fields["policy"] = policy_named(fields["policy"])
    if isinstance(fields.get("policy"), Mapping):
        fields["policy"] = policy_from(fields["policy"])
    if "data" in fields:
        fields["data"] = _with_absolute_path(source_from(fields["data"]), folder or Path.cwd())
    return decode(ModelSpec, fields)


def _monitoring_from(fields: Mapping[str, Any]) -> Monitoring:
    if isinstance(fields.get("trading"), Mapping):
        fields = {**fields, "trading": decode(Trading, fields["trading"])}
    return decode(Monitoring, fields)


def _folds_from(folds: Any) -> Any:
    """The folds that a user describes by a number or by the fields of a scheme."""
    if isinstance(folds, Mapping):
        return decode(FoldScheme, folds)
    if isinstance(folds, int | FoldScheme) or str(folds).isdecimal():
        return folds
    raise InvalidRequest(f"folds: a whole number or a mapping with a scheme is needed, got {folds!r}")


def policy_from(fields: Mapping[str, Any]) -> RetrainingPolicy:
    """The policy of fields as a user writes them: versions among `slots` may be numbers."""
    slots = fields.get("slots")
    if isinstance(slots, list | tuple):
        names = [str(name) if isinstance(name, int) and not isinstance(name, bool) else name for name in slots]
        fields = {**fields, "slots": names}
    return decode(RetrainingPolicy, fields)


def revision_of(spec: ModelSpec) -> str:
    """A name for the contents of a model: the first 32 digits of a SHA-256, which another model does not have.

    A login or a query in the address of its data does not count: who sees the name could try passwords against it.
    """
    name = "url" if isinstance(spec.data, SqlSource) else "uri"
    facts = plain(spec)
    facts["data"][name] = _SECRETS.sub(r"\2", facts["data"][name])
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def source_from(data: Any) -> DataSource:
    """The data source that a user describes by a path, `{uri, format}` or `{url, query}`."""
    if isinstance(data, FileSource | SqlSource):
        return data
    if isinstance(data, str):
        return FileSource(data)
    if not isinstance(data, Mapping):
        kind = type(data).__name__
        raise InvalidRequest(f"data: a path, {{uri, format}} or {{url, query}} is needed, got a value of type {kind}")
    if "url" in data or "query" in data:
        return decode(SqlSource, data)
    return decode(FileSource, data)


def _with_absolute_path(source: DataSource, folder: Path) -> DataSource:
    if isinstance(source, SqlSource) or "://" in source.uri:
        return source
    return dataclasses.replace(source, uri=str((folder / Path(source.uri).expanduser()).absolute()))


def _check_field_names(kind: type[Any], data: Mapping[str, Any]) -> Mapping[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(str(name) for name in set(data) - names)
    if unknown:
        raise InvalidRequest(f"{kind.__name__}: unknown field {', '.join(unknown)}; one of {sorted(names)}")
    return data


def _error_text(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    value = "" if item["type"] == "missing" else f", got {without_secrets(item['input'])!r}"
    return f"{where}: {item['msg'].lower()}{value}"
