"""Problem documents (RFC 9457): the HTTP code and the document of each error, decided in this place only."""

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

from optagent import errors
from optagent.codec import without_secrets
from optagent.secret_text import hide_secrets

CODES: Mapping[type[Exception], int] = {
    errors.InvalidRequest: 422,
    errors.Malformed: 400,
    errors.TooLarge: 413,
    errors.TooSlow: 408,
    errors.UnsupportedFormat: 415,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.NotAuthenticated: 401,
    errors.NotPermitted: 403,
    errors.TooManyRequests: 429,
    errors.Busy: 429,
    errors.Unavailable: 503,
    errors.EngineFailed: 503,
    errors.OptAgentError: 500,
}
"""The code of each error and of its subclasses, except of those that have a code of their own here."""

MEDIA_TYPE = "application/problem+json"
HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": 'Bearer realm="optagent"'},
    429: {"Retry-After": "5"},
    503: {"Retry-After": "2"},
}
UNEXPECTED = "something went wrong that should not have; the log of the server has it under this request id"

_log = logging.getLogger("optagent.api")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LONGEST = 200


def problem(error: Exception, request_id: str) -> tuple[int, dict[str, Any]]:
    """The code and the document of an error; without its text where the error is unexpected."""
    if isinstance(error, RequestValidationError):
        field_errors = [_field_error(item) for item in error.errors()]
        detail = "; ".join(f"{item['field']}: {item['rule']}" for item in field_errors)
        return 422, _problem_document("InvalidRequest", 422, detail, request_id) | {"errors": field_errors}
    if isinstance(error, HTTPException):
        name = HTTPStatus(error.status_code).phrase.title().replace(" ", "")
        return error.status_code, _problem_document(name, error.status_code, str(error.detail), request_id)
    code = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), None)
    if code is None:
        return 500, _problem_document("Unexpected", 500, UNEXPECTED, request_id)
    return code, _problem_document(type(error).__name__, code, str(error), request_id)


def problem_response(error: Exception, request_id: str) -> Response:
    """The problem document as a response, with the headers of its code; an unexpected error is logged."""
    code, document = problem(error, request_id)
    if document["type"].endswith(":unexpected"):
        _log.error("request %s failed", request_id, exc_info=error)
    headers = {**HEADERS.get(code, {}), **(getattr(error, "headers", None) or {})}
    return Response(msgspec.json.encode(document), code, headers, MEDIA_TYPE)


def request_id_of(request: Request) -> str:
    """The id of the request, which `asgi.Application` has put into its state."""
    return str(getattr(request.state, "request_id", ""))


def answer_problems(app: FastAPI) -> None:
    """Makes the application answer every error with a problem document."""

    async def answer(request: Request, error: Exception) -> Response:
        response = problem_response(error, request_id_of(request))
        if response.status_code == 405:  # Starlette names the methods of the first route of the path only
            response.headers["Allow"] = ", ".join(sorted(allowed_methods(app, request.scope["path"])))
        return response

    for kind in (errors.OptAgentError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def allowed_methods(app: FastAPI, path: str) -> set[str]:
    """The methods of all routes of a path."""
    routes = [route for route in iter_route_contexts(app.routes) if route.path_regex.match(path)]
    return {method for route in routes for method in route.methods or ()}


def _problem_document(name: str, code: int, detail: str, request_id: str) -> dict[str, Any]:
    words = _WORDS.sub(" ", name).lower()
    return {
        "type": f"urn:optagent:{words.replace(' ', '-')}",
        "title": words.capitalize(),
        "status": code,
        "detail": hide_secrets(detail.encode("utf-8", "replace").decode()),
        "instance": request_id,
    }


def _field_error(item: Mapping[str, Any]) -> dict[str, str]:
    """The field and the rule of a value that pydantic refused."""
    rule = str(item["msg"]).removeprefix("Value error, ")
    got = "" if item["type"] in ("missing", "value_error") else f", got {_short_repr(item['input'])}"
    return {"field": _field_path(item["loc"]), "rule": f"{rule[:1].lower()}{rule[1:]}{got}"}


def _field_path(location: Sequence[Any]) -> str:
    place, *inside = location
    return ".".join(map(str, inside)) if inside else str(place)


def _short_repr(value: Any) -> str:
    text = repr(without_secrets(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
