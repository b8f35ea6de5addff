"""Documentation page of the API, made from the OpenAPI document.

FastAPI's pages for that (Swagger UI, ReDoc) load their scripts from a CDN, and no installed package contains them.
A template needs nothing from the network, and no scripts at all.
"""

import json
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from optagent.templating import load_templates
from serve_app.fixed_content import FixedContent

_REF = "#/components/schemas/"
_ANY_HOST = "https://this.host.invalid"
_OF_TYPE = {"string": "", "integer": 1, "number": 1.0, "boolean": True}


class ApiDocuments:
    """The OpenAPI document and its page, each made once; the page is completed for the host of a request."""

    def __init__(self, document: Callable[[], dict[str, Any]]) -> None:
        self._document = document
        self._json: FixedContent | None = None
        self._page: str | None = None

    def json(self) -> FixedContent:
        if self._json is None:
            self._json = FixedContent(json.dumps(self._document(), ensure_ascii=False).encode(), "application/json")
        return self._json

    def page(self, base_url: str) -> FixedContent:
        if self._page is None:
            self._page = render_page(self._document(), _ANY_HOST)
        return FixedContent(self._page.replace(_ANY_HOST, escape(base_url)).encode(), "text/html; charset=utf-8")


def render_page(document: Mapping[str, Any], base_url: str) -> str:
    """The HTML of an OpenAPI document: every call with its parameters, body, answers and a curl line."""
    calls: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            curl = _curl_line(base_url + path, method, call, document)
            calls.setdefault(call.get("tags", ["other"])[0], []).append(
                {"path": path, "method": method, "curl": curl, **call}
            )
    schemas = sorted(document["components"]["schemas"].items())
    return _TEMPLATES.get_template("docs.html").render(info=document["info"], calls=calls, schemas=schemas)


def _curl_line(url: str, method: str, call: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    for parameter in call.get("parameters", []):
        if parameter["in"] == "path" and "examples" in parameter["schema"]:
            url = url.replace(f"{{{parameter['name']}}}", parameter["schema"]["examples"][0])
    parts = [f"curl -X {method.upper()} {url}"]
    if call.get("x-scope"):
        parts.append("-H 'Authorization: Bearer oa_...'")
    content = call.get("requestBody", {}).get("content", {}).get("application/json")
    if content:
        example = content.get("example") or _example(content["schema"], document)
        parts += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(example, ensure_ascii=False)}'"]
    return " \\\n  ".join(parts)


def _example(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    """An example of a body: the required fields, and those that have an example."""
    if "$ref" in schema:
        return _example(document["components"]["schemas"][schema["$ref"].removeprefix(_REF)], document)
    if "examples" in schema:
        return schema["examples"][0]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], document)
    if schema.get("type") == "array":
        return [_example(schema.get("items", {}), document)]
    if "properties" in schema:
        names = {name for name, kind in schema["properties"].items() if "examples" in kind}
        names |= set(schema.get("required", []))
        return {name: _example(kind, document) for name, kind in schema["properties"].items() if name in names}
    return schema.get("default", _OF_TYPE.get(schema.get("type", "")))


_TEMPLATES = load_templates(Path(__file__).parent / "templates")
