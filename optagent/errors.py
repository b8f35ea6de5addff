"""The exceptions that optagent raises on purpose; nothing here knows HTTP."""


class OptAgentError(Exception):
    """Root of the tree: catching it catches every refusal and every reported failure."""


class InvalidRequest(OptAgentError, ValueError):
    """The request breaks a rule; the message names the value and the rule."""


class InvalidData(InvalidRequest):
    """The data cannot be used; the message names the column, file or row and the rule."""


class TooLarge(InvalidData):
    """More bytes or rows than one request may have; the message names the limit."""


class Malformed(InvalidRequest):
    """What was sent is not in the format that it says it is in; the message says where that ends."""


class UnsupportedFormat(InvalidRequest):
    """What was sent is in a format that is not read; the message lists those that are."""


class NotFound(OptAgentError, LookupError):
    """What was asked for does not exist."""


class ModelNotFound(NotFound):
    """No model of that id, version or alias."""


class ProcessNotFound(NotFound):
    """No process of that id."""


class Conflict(OptAgentError):
    """The request is well formed but contradicts what is already there."""


class LeaseLost(Conflict):
    """Another runner has taken the process: the one that held it before stops, and writes nothing more."""


class Unavailable(OptAgentError):
    """Something outside (Redis, MLflow, Ray, a data source) does not answer; the message names it and its address."""


class Busy(OptAgentError):
    """More work waits than may wait; the message says how much. Try again later."""


class NotAuthenticated(OptAgentError):
    """No token, or one that is not known, has expired or was revoked; the message does not say which."""


class NotPermitted(OptAgentError):
    """The token does not have the scope that the request needs; the message names it."""


class TooManyRequests(OptAgentError):
    """More requests of one token than it may make; the message names the limit."""


class CorruptBundle(OptAgentError):
    """A model bundle is incomplete, altered, or of a kind that is never loaded."""


class EngineFailed(OptAgentError):
    """A version did not answer rows that are in order: it raised, took too long, or its process ended."""


class Infeasible(OptAgentError):
    """These parameters cannot be trained on this data; the trial is recorded and the search goes on."""


class SearchFailed(OptAgentError):
    """A search ended without one finished trial; the message says why."""


class Cancelled(OptAgentError):
    """The process was asked to stop."""
