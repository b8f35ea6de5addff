"""Reference page of the HTTP API: every route with its scope, parameters, body and answers, as OpenAPI has them."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, cast

from optagent.domain.dataset import FileSource, SqlSource
from optagent.domain.fold_scheme import FoldScheme
from optagent.domain.history import HistorySpec
from optagent.domain.model import ModelSpec
from optagent.domain.monitoring import Monitoring
from optagent.domain.policy import RetrainingPolicy
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.token import Scope
from optagent.domain.trading import Trading
from reference.nouns import field_texts, value_text
from reference.page import ReferencePage, code, codes, sentence
from serve_app.api import create_api

Document = Mapping[str, Any]

_INTRODUCTION = """
`/docs` of a running server shows the same with examples, `/openapi.json` makes a client. A call needs a bearer token
(`optagent token create`) of the scope that stands beside it; `admin` covers all, `operate` covers `read`. Errors are
problem documents, see [errors](errors.md). A POST with an `Idempotency-Key` is done once, however often it is sent.
"""
_SCOPES = {
    Scope.READ: "models, versions, reports, processes and rollouts are shown",
    Scope.PREDICT: "predictions are asked for",
    Scope.LABEL: "labels are sent",
    Scope.OPERATE: "models are optimized, rollouts and mixtures acted on; includes `read`",
    Scope.ADMIN: "models are registered, tokens made, the audit log read; includes all",
}
_NOUNS = {
    "RegisterRequest": ModelSpec,
    "ModelChanges": ModelSpec,
    "MonitoringFields": Monitoring,
    "HistoryFields": HistorySpec,
    "RetrainingFields": RetrainingPolicy,
    "PolicyFields": RolloutPolicy,
    "FoldFields": FoldScheme,
    "TradingFields": Trading,
    "FileData": FileSource,
    "SqlData": SqlSource,
}
"""The nouns of the domain that bodies stand for, whose descriptions hold for them too."""
_REF = "#/components/schemas/"


class _NoPort:
    """A stand-in for the ports of an API that is described and never called."""

    def __getattr__(self, name: str) -> Any:
        return None


def http_page() -> ReferencePage:
    page = ReferencePage("HTTP API", _INTRODUCTION.strip())
    page.add_heading("Scopes")
    page.add_meanings("scope", "with it", Scope, _SCOPES)
    document = api_document()
    _add_problems(page, document)
    shown: dict[str, Document] = {}
    for tag, calls in _calls_by_tag(document).items():
        page.add_heading(tag.capitalize())
        for method, path, call in calls:
            _add_call(page, method, path, call)
            shown |= _body_schemas(call, document)
    page.add_heading("Bodies")
    for name, schema in sorted(shown.items()):
        _add_schema(page, name, schema)
    return page


def api_document() -> Document:
    """The OpenAPI document of the API."""
    nothing = cast(Any, _NoPort())
    return create_api(nothing, nothing, None, nothing).openapi()


def _calls_by_tag(document: Document) -> dict[str, list[tuple[str, str, Document]]]:
    calls: dict[str, list[tuple[str, str, Document]]] = {}
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            calls.setdefault(call.get("tags", ["other"])[0], []).append((method.upper(), path, call))
    return calls


def _add_call(page: ReferencePage, method: str, path: str, call: Document) -> None:
    page.add_heading(code(f"{method} {path}"), 3)
    page.add_text(page.describe(f"{method} {path}", call.get("description")))
    scope = call.get("x-scope")
    page.add_text(f"Scope: {code(scope) if scope else 'none, it is open'}. {_body_text(call)}")
    parameters = [
        [
            code(each["name"]),
            each["in"],
            _type_text(each["schema"]),
            sentence(page.describe(f"{method} {path} {each['name']}", each.get("description"))),
        ]
        for each in call.get("parameters", [])
    ]
    if parameters:
        page.add_table(["parameter", "in", "type", "meaning"], parameters)
    answers = [f"{code(status)} {_answer_type(each)}" for status, each in call["responses"].items() if status < "400"]
    problems = [status for status in call["responses"] if status >= "400"]
    page.add_text(f"Answer: {', '.join(answers)}. Problems: {codes(problems)}.")


def _add_problems(page: ReferencePage, document: Document) -> None:
    """The statuses of all problem documents, with the reasons that routes give for them."""
    page.add_heading("Problems")
    reasons: dict[str, set[str]] = {}
    for methods in document["paths"].values():
        for call in methods.values():
            for status, answer in call["responses"].items():
                if status >= "400":
                    reasons.setdefault(status, set()).add(answer["description"])
    rows = [
        [f"{status} {HTTPStatus(int(status)).phrase}", "; ".join(sorted(reasons[status]))] for status in sorted(reasons)
    ]
    page.add_table(["status", "when"], rows)


def _body_text(call: Document) -> str:
    content = call.get("requestBody", {}).get("content", {})
    kinds = [f"{code(kind)}, {_type_text(part['schema'])}" for kind, part in content.items()]
    return f"Body: {' or '.join(kinds)}." if kinds else ""


def _answer_type(answer: Document) -> str:
    kinds = [_type_text(part.get("schema", {})) or code(kind) for kind, part in answer.get("content", {}).items()]
    return " or ".join(dict.fromkeys(kinds))


def _body_schemas(call: Document, document: Document) -> dict[str, Document]:
    """The schemas of a call's body, and those that they refer to."""
    schemas: dict[str, Document] = {}
    waiting = list(_references(call.get("requestBody", {})))
    while waiting:
        name = waiting.pop()
        if name not in schemas:
            schemas[name] = document["components"]["schemas"][name]
            waiting += _references(schemas[name])
    return schemas


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        if "$ref" in part:
            yield part["$ref"].removeprefix(_REF)
        for below in part.values():
            yield from _references(below)
    elif isinstance(part, list):
        for below in part:
            yield from _references(below)


def _add_schema(page: ReferencePage, name: str, schema: Document) -> None:
    page.add_heading(name, 3, name.lower())
    page.add_text(page.describe(f"body {name}", schema.get("description")))
    needed = schema.get("required", [])
    texts = field_texts(_NOUNS[name]) if name in _NOUNS else {}
    rows = [
        [
            code(field),
            _type_text(kind),
            "*needed*" if field in needed else code(value_text(kind["default"])) if kind.get("default") else "",
            texts.get(field) or sentence(page.describe(f"body {name} {field}", kind.get("description"))),
        ]
        for field, kind in schema.get("properties", {}).items()
    ]
    if rows:
        page.add_table(["field", "type", "default", "meaning"], rows)


def _type_text(kind: Document) -> str:
    """A JSON schema in words, with a link to a schema of its own.

    >>> _type_text({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]})
    'integer from 1'
    """
    if "$ref" in kind:
        name = kind["$ref"].removeprefix(_REF)
        return f"[{name}](#{name.lower()})" if name.endswith("Request") else name
    if "anyOf" in kind:
        return " or ".join(dict.fromkeys(_type_text(each) for each in kind["anyOf"] if each.get("type") != "null"))
    if "enum" in kind:
        return f"one of {codes(kind['enum'])}"
    if kind.get("type") == "array":
        return f"list of {_type_text(kind.get('items', {})) or 'values'}"
    bounds = "".join(f" {word} {kind[sign]:g}" for sign, word in _BOUNDS.items() if sign in kind)
    return f"{kind.get('type', '')}{bounds}"


_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
