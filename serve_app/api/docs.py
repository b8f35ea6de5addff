"""The API as a page to read. It is written here, from the OpenAPI document, and needs nothing from the network."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #888; --get: #2a7; --post: #27c; --other: #b60; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; text-transform: capitalize; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
summary b { display: inline-block; min-width: 4rem; color: var(--other); }
summary b.get { color: var(--get); } summary b.post { color: var(--post); }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { border: 1px solid var(--line); border-radius: 4px; overflow-x: auto; padding: .6rem; }
table { border-collapse: collapse; margin: .5rem 0; width: 100%; }
td { border-top: 1px solid var(--line); padding: .25rem .8rem .25rem 0; vertical-align: top; }
i, small { color: var(--dim); }
"""
_REF = "#/components/schemas/"


def page(document: Mapping[str, Any], base_url: str) -> str:
    """The HTML of an OpenAPI document: every call with its parameters, body, answers and a curl line."""
    info = document["info"]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info.get('description', ''))} For machines: <a href=openapi.json>openapi.json</a>.</p>"
        f"{''.join(_sections(document, base_url))}<h2>Schemas</h2>{''.join(_schemas(document))}</html>"
    )


def _sections(document: Mapping[str, Any], base_url: str) -> Iterator[str]:
    tags: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            tags.setdefault(call.get("tags", ["other"])[0], []).append(
                _call(path, method, call, _curl(base_url + path, method, call, document))
            )
    for tag, calls in tags.items():
        yield f"<h2>{escape(tag)}</h2>{''.join(calls)}"


def _call(path: str, method: str, call: Mapping[str, Any], curl: str) -> str:
    scope = call.get("x-scope")
    needs = f"needs the scope <code>{escape(scope)}</code>" if scope else "open"
    return (
        f"<details><summary><b class={method}>{method.upper()}</b> <code>{escape(path)}</code> "
        f"<small>{escape(call.get('summary', ''))}, {needs}</small></summary>"
        f"<p>{escape(call.get('description', ''))}</p>{_parameters(call.get('parameters', []))}"
        f"{_body(call)}<pre>{escape(curl)}</pre>{_answers(call['responses'])}</details>"
    )


def _parameters(parameters: list[Mapping[str, Any]]) -> str:
    rows = (
        _row(one["name"], f"{one['in']}, {_kind(one['schema'])}", one.get("required", False), one.get("description"))
        for one in parameters
    )
    return f"<table>{''.join(rows)}</table>" if parameters else ""


def _body(call: Mapping[str, Any]) -> str:
    content = call.get("requestBody", {}).get("content", {})
    kinds = (f"<code>{escape(kind)}</code>: {_kind(each['schema'])}" for kind, each in content.items())
    return f"<p>Body: {' or '.join(kinds)}</p>" if content else ""


def _answers(responses: Mapping[str, Any]) -> str:
    rows = (
        f"<tr><td>{escape(code)}<td>{escape(answer['description'])}<td>"
        + ", ".join(_kind(each.get("schema", {})) for each in answer.get("content", {}).values())
        for code, answer in sorted(responses.items())
    )
    return f"<table>{''.join(rows)}</table>"


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in sorted(document["components"]["schemas"].items()):
        required = schema.get("required", [])
        rows = "".join(
            _row(field, _kind(kind), field in required, kind.get("description"))
            for field, kind in schema.get("properties", {}).items()
        )
        said = f"<p>{escape(schema.get('description', ''))}</p>"
        values = f"<p>{escape(', '.join(map(str, schema.get('enum', []))))}</p>"
        yield (
            f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>{said}{values}"
            f"<table>{rows}</table></details>"
        )


def _row(name: str, kind: str, required: bool, description: str | None) -> str:
    must = " <i>required</i>" if required else ""
    return f"<tr><td><code>{escape(name)}</code>{must}<td>{kind}<td>{escape(description or '')}"


def _kind(schema: Mapping[str, Any]) -> str:
    """What a schema is, in a few words; named ones as links."""
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(_REF))
        return f"<a href='#{name}'>{name}</a>"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_kind(each) for each in schema[several])
    if "enum" in schema:
        return escape(" | ".join(map(str, schema["enum"])))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return escape(str(schema.get("type", "anything"))) + escape(_bounds(schema))


def _bounds(schema: Mapping[str, Any]) -> str:
    said = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return "".join(f" {sign} {schema[name]:g}" for name, sign in said.items() if name in schema)


def _curl(url: str, method: str, call: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    for one in call.get("parameters", []):
        if one["in"] == "path" and "examples" in one["schema"]:
            url = url.replace(f"{{{one['name']}}}", one["schema"]["examples"][0])
    parts = [f"curl -X {method.upper()} {url}"]
    if call.get("x-scope"):
        parts.append("-H 'Authorization: Bearer oa_...'")
    content = call.get("requestBody", {}).get("content", {}).get("application/json")
    if content:
        example = content.get("example") or _example(content["schema"], document)
        parts += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(example, ensure_ascii=False)}'"]
    return " \\\n  ".join(parts)


def _example(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    """What a body may look like: the fields that are required, and those that have an example."""
    if "$ref" in schema:
        return _example(document["components"]["schemas"][schema["$ref"].removeprefix(_REF)], document)
    if "examples" in schema:
        return schema["examples"][0]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], document)
    if schema.get("type") == "array":
        return [_example(schema.get("items", {}), document)]
    if "properties" in schema:
        wanted = {name for name, kind in schema["properties"].items() if "examples" in kind}
        wanted |= set(schema.get("required", []))
        return {name: _example(kind, document) for name, kind in schema["properties"].items() if name in wanted}
    return schema.get(
        "default", {"string": "", "integer": 1, "number": 1.0, "boolean": True}.get(schema.get("type", ""))
    )
