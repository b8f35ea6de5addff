"""Reference page of errors: every class with its URN, HTTP status, exit code and meaning."""

import inspect
from http import HTTPStatus

from optagent import errors
from optagent.errors import REFUSALS, OptAgentError
from reference.page import ReferencePage, code
from serve_app.api.errors import HEADERS, problem

_INTRODUCTION = """
Everything that optagent raises on purpose is a subclass of `optagent.errors.OptAgentError`. Over HTTP an error is a
problem document (RFC 9457, `application/problem+json`): its `type` is the URN below, `detail` the message, `instance`
the id of the request. On the command line the message goes to standard error and the exit code says the kind.
"""
_EXIT_CODES = [
    ["0", "done"],
    ["1", "a failure: something outside is away, a search failed, a process was cancelled"],
    ["2", "a refused request: bad input, an unknown name, a contradiction to what is stored"],
    ["130", "stopped by an interrupt (Ctrl-C)"],
]


def errors_page() -> ReferencePage:
    page = ReferencePage("Errors", _INTRODUCTION.strip())
    page.add_heading("Classes")
    page.add_table(
        ["class", "URN", "HTTP status", "exit code", "meaning"], [_error_row(page, kind) for kind in error_classes()]
    )
    page.add_text(
        "Every other error of the server is `urn:optagent:unexpected`, status 500: its text is in the server's log "
        "only, under the id of the request. A path or method that does not exist is answered in the same form."
    )
    page.add_heading("Headers")
    rows = [[str(status), code(name), code(text)] for status, each in HEADERS.items() for name, text in each.items()]
    page.add_table(["status", "header", "value"], rows)
    page.add_heading("Exit codes")
    page.add_table(["code", "meaning"], _EXIT_CODES)
    return page


def error_classes() -> list[type[OptAgentError]]:
    """The classes of `optagent.errors`, in the order of the code."""
    kinds = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, OptAgentError)]
    return sorted(kinds, key=lambda kind: inspect.getsourcelines(kind)[1])


def _error_row(page: ReferencePage, kind: type[OptAgentError]) -> list[str]:
    status, document = problem(kind("text"), "")
    exit_code = 2 if issubclass(kind, REFUSALS) else 1
    answer = f"{status} {HTTPStatus(status).phrase}"
    meaning = page.describe(f"error {kind.__name__}", kind.__doc__)
    return [code(kind.__name__), code(document["type"]), answer, str(exit_code), meaning]
