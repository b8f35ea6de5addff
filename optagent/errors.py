"""Exceptions: everything that optagent raises on purpose. Nothing here knows HTTP."""

from optagent.secret_text import hide_secrets


class OptAgentError(Exception):
    """Base class: catching it catches every refusal and every reported failure.

    Messages go to people by many ways (answers, logs, the audit log, processes, notices), so secrets of URLs in them
    are hidden here, once.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(hide_secrets(value) if isinstance(value, str) else value for value in args))


class InvalidRequest(OptAgentError, ValueError):
    """The request breaks a rule; the message names the value and the rule."""


class InvalidData(InvalidRequest):
    """The data cannot be used; the message names the column, file or row and the rule."""


class TooLarge(InvalidData):
    """The request has more bytes or rows than it may have; the message names the limit."""


class TooSlow(InvalidRequest):
    """The request did not come within its time; the message names the limit."""


class Malformed(InvalidRequest):
    """The data is not in the format that the request claims; the message says where parsing stopped."""


class UnsupportedFormat(InvalidRequest):
    """The data is in a format that cannot be read; the message lists those that can."""


class MissingExtra(InvalidRequest):
    """The request needs a library of an extra that is not installed; the message has the command that installs it."""


class NotFound(OptAgentError, LookupError):
    """The requested object does not exist."""


class ModelNotFound(NotFound):
    """There is no model of that id, version or alias."""


class ProcessNotFound(NotFound):
    """There is no process of that id."""


class Conflict(OptAgentError):
    """The request is well formed but contradicts the stored state."""


class PreconditionFailed(OptAgentError):
    """The object was changed since the caller read it; the message names its present revision."""


class LeaseLost(Conflict):
    """Another runner has taken the process: the one that held it before stops, and writes nothing more."""


class Unavailable(OptAgentError):
    """An external service (Redis, MLflow, Ray, a data source) does not answer; the message names it and its address."""


class UnusableHome(Unavailable):
    """The home folder cannot be used: read-only, full, or of another version; the message says what to do."""


class Busy(OptAgentError):
    """Too much work is waiting already; the message says how much. Try again later."""


class NotAuthenticated(OptAgentError):
    """The token is missing, unknown, expired or revoked; the message does not say which."""


class NotPermitted(OptAgentError):
    """The token does not have the scope that the request needs, or is limited to other models; the message says."""


class TooManyRequests(OptAgentError):
    """One token made more requests than it may make; the message names the limit."""


class CorruptBundle(OptAgentError):
    """A model bundle is incomplete, altered, or of a kind that is never loaded."""


class EngineFailed(OptAgentError):
    """A model version failed to answer valid rows: it raised, took too long, or its process ended."""


class Infeasible(OptAgentError):
    """These parameters cannot be trained on this data; the trial is recorded and the search goes on."""


class SearchFailed(OptAgentError):
    """A search ended without one finished trial; the message says why."""


class Cancelled(OptAgentError):
    """The process was asked to stop."""


REFUSALS = (InvalidRequest, NotFound, Conflict, UnusableHome)
"""The errors of requests that were refused, by which nothing was done: the command line exits with 2 for them."""
