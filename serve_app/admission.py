"""Admission control of a gateway: so many requests of each kind at a time, so that none takes the places of others.

Ray Serve counts all requests alike, so its own limit is far above the sum of these.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from starlette.types import Scope

from optagent.errors import Busy, TooManyRequests

# One token gets a part of the places of its kind at a time, so that it does not shut out the others.
_PREDICTIONS, _PREDICTIONS_OF_ONE = 1000, 500
_CALLS, _CALLS_OF_ONE = 400, 100
_PAGES, _PAGES_OF_ONE = 200, 50
_STRANGERS = 200  # they wait for nothing but the body of a sign-in form
_CHECKS = 200  # of health, which load balancers need whoever else comes
_SIGN_IN = ("/sign-in", "/sign-out")
_HEALTH = "/api/v1/optimization/health"

Caller = bytes | None


class Places:
    """The places of one kind of request: `most` at a time in all, and `most_of_one` of the same caller."""

    def __init__(self, kind: str, most: int, most_of_one: int | None = None) -> None:
        self._kind = kind
        self._most = most
        self._most_of_one = most if most_of_one is None else most_of_one
        self._taken = 0
        self._by_caller: dict[object, int] = {}

    @property
    def count(self) -> int:
        """The places that are taken now."""
        return self._taken

    @contextmanager
    def place(self, caller: object) -> Iterator[None]:
        """A place for as long as the context lasts; raises TooManyRequests, or Busy where all are taken."""
        self.enter(caller)
        try:
            yield
        finally:
            self.leave(caller)

    def enter(self, caller: object) -> None:
        if self._taken >= self._most:
            raise Busy(f"all {self._most} places of this gateway for {self._kind} are taken: try again")
        own = self._by_caller.get(caller, 0)
        if own >= self._most_of_one:
            raise TooManyRequests(f"{own} {self._kind} of this caller are open, the most at a time: end one first")
        self._by_caller[caller] = own + 1
        self._taken += 1

    def leave(self, caller: object) -> None:
        self._taken -= 1
        own = self._by_caller[caller] - 1
        if own:
            self._by_caller[caller] = own
        else:
            del self._by_caller[caller]


class Admission:
    """Chooses the places of a request. `knows` is True for the header of a valid token that was looked up before.

    `dashboard` is the path of its pages. Whoever shows no such token is a stranger, and finds the places of strangers
    only: a lookup makes a token known.
    """

    def __init__(self, knows: Callable[[str | None], bool], dashboard: str) -> None:
        self._knows = knows
        self._dashboard = dashboard
        self.predictions = Places("predictions", _PREDICTIONS, _PREDICTIONS_OF_ONE)
        self.calls = Places("API calls", _CALLS, _CALLS_OF_ONE)
        self.pages = Places("dashboard pages", _PAGES, _PAGES_OF_ONE)
        self.strangers = Places("requests without a known token", _STRANGERS)
        self.checks = Places("checks of health", _CHECKS)

    def choose(self, scope: Scope, headers: Mapping[bytes, bytes], is_prediction: bool) -> tuple[Places, Caller]:
        """The places for a request, and its caller there."""
        authorization = headers.get(b"authorization")
        if self._knows(None if authorization is None else authorization.decode("latin-1")):
            return (self.predictions if is_prediction else self.calls), authorization
        path = scope["path"]
        if path == _HEALTH:
            return self.checks, None
        cookie = headers.get(b"cookie")
        if cookie is not None and path.startswith(self._dashboard) and not path.endswith(_SIGN_IN):
            return self.pages, cookie
        return self.strangers, None
