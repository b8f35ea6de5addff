"""Serving ports: routing tables, model loading, tokens, sessions, idempotent answers and the launch of runners."""

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Protocol

from optagent.domain.idempotency import KeyClaim, KeyRules
from optagent.domain.routing import RoutingTable
from optagent.domain.session import DashboardSession
from optagent.domain.token import Token
from optagent.serving.engine import ServedModel


class Routes(Protocol):
    """Keeps the routing tables, and announces them to gateways.

    A model has an active table and may have a staged one, its next table. Every write is fenced: it succeeds only if
    the stored table is the one that the writer knew; otherwise Conflict is raised and nothing is written. Raises
    Unavailable.
    """

    async def check(self) -> None:
        """Raises Unavailable, by name and within 5 s."""
        ...

    async def close(self) -> None: ...

    async def active_table(self, model_id: str) -> RoutingTable | None:
        """The table that requests follow from its `activate_at` on."""
        ...

    async def staged_table(self, model_id: str) -> RoutingTable | None:
        """The next table, while it is not active."""
        ...

    async def tables(self) -> list[RoutingTable]:
        """Active and staged tables of all models, by model and revision, for a gateway that starts."""
        ...

    async def stage(self, table: RoutingTable) -> None:
        """Stores the next table (`activate_at` None) and tells all gateways to load its versions.

        Replaces an older staged table. Raises Conflict unless its revision is one more than that of the active table (1
        without one).
        """
        ...

    async def activate(self, model_id: str, revision: int, at: float) -> RoutingTable:
        """Makes the staged table of that revision the active one from `at` on, and tells all gateways.

        Raises Conflict where no table of that revision is staged.
        """
        ...

    async def unstage(self, model_id: str, revision: int) -> None:
        """Deletes the staged table of that revision, if there is one, and tells all gateways."""
        ...

    async def gateways(self) -> Mapping[str, float]:
        """The POSIX time of the last heartbeat of each live gateway, by id."""
        ...

    async def acknowledgements(self, model_id: str, revision: int) -> Mapping[str, str]:
        """The gateways' acknowledgements of a table, by gateway: "" for loaded, otherwise the reason why it cannot."""
        ...

    async def beat(self, gateway: str, alive_s: float) -> None:
        """Reports that a gateway is alive, for the next `alive_s` seconds."""
        ...

    async def leave(self, gateway: str) -> None:
        """Reports that a gateway has ended."""
        ...

    async def acknowledge(self, gateway: str, model_id: str, revision: int, error: str = "") -> None:
        """Reports that a gateway has loaded a staged table's versions, or with `error` why it cannot."""
        ...

    def changes(self) -> AsyncIterator[RoutingTable | None]:
        """Each table that is staged or activated from now on; None where some may have been missed or one was unstaged.

        After None, read `tables` again. The iterator never ends and never raises: it waits for a server that is away.
        The first None comes at once, when listening has begun.
        """
        ...


class Loader(Protocol):
    """Loads model versions. Its verbs block: call them from threads, also several at once."""

    def load(self, model_id: str, version: str, digest: str = "") -> ServedModel:
        """The version with a running engine; close it when it is no longer needed.

        Only a bundle of that digest is loaded; without one, that which the registry has. Raises ModelNotFound,
        CorruptBundle, EngineFailed where the engine cannot be started, and Unavailable.
        """
        ...

    def keep(self, digests: Collection[str]) -> None:
        """Drops copies of bundles that are kept on this machine, but those of `digests` and a few that were used last.

        Raises Unavailable.
        """
        ...

    def close(self) -> None:
        """Cancels loads in progress, and closes the loaded versions."""
        ...


class Tokens(Protocol):
    """Keeps bearer tokens. Raises Unavailable."""

    async def close(self) -> None: ...

    async def create(self, token: Token) -> None:
        """Stores a new token; raises Conflict where the id is taken."""
        ...

    async def find(self, token_id: str) -> Token | None: ...

    async def tokens(self) -> list[Token]:
        """All tokens, the newest first, with expired and revoked ones."""
        ...

    async def revoke(self, token_id: str, at: float) -> Token:
        """The token, revoked at `at`; raises NotFound. Revoking it again changes nothing."""
        ...


class Sessions(Protocol):
    """Keeps the sessions of browsers that have signed in to the dashboard. Raises Unavailable."""

    async def close(self) -> None: ...

    async def create(self, session: DashboardSession, idle_s: float) -> None:
        """Stores a new session; the oldest of its token end, where there are more than MOST_SESSIONS then."""
        ...

    async def use(self, digest: str, idle_s: float) -> DashboardSession | None:
        """The session of that digest, None where it has ended; it counts as used now.

        It ends `idle_s` seconds after it was used last, and in any case once the time from its `created_at` to its
        `ends_at` is over.
        """
        ...

    async def end(self, digest: str) -> None:
        """Ends a session, for all gateways; no error if there is none."""
        ...


class IdempotencyStore(Protocol):
    """Keeps the answers to requests by idempotency key, so that each request is carried out once."""

    async def claim(self, owner: str, key: str, digest: str, rules: KeyRules) -> KeyClaim:
        """Claims a key for the request of that digest, or answers what was answered to it.

        Raises Conflict while another claim of the key holds, InvalidRequest where the key was used for a request of
        another digest, and TooManyRequests where the owner has used too many new keys.
        """
        ...

    async def renew(self, claim: KeyClaim, rules: KeyRules) -> None:
        """Lets a claim hold for `held_s` from now; changes nothing where another claim has followed it."""
        ...

    async def keep(self, claim: KeyClaim, answer: bytes, rules: KeyRules) -> None:
        """Stores the answer of a claimed key; the first of several answers stays."""
        ...

    async def suspend(self, claim: KeyClaim) -> None:
        """Ends the hold of a claim whose work may have been done: the key may be claimed again, for this request."""
        ...

    async def release(self, claim: KeyClaim) -> None:
        """Forgets a key whose request was refused: it may be claimed for any request."""
        ...


class Launcher(Protocol):
    """Starts the runners of queued processes, each in a process of its own."""

    def launch(self, process_id: str) -> None:
        """Starts a runner for a queued process; no error if one runs already. Raises Unavailable."""
        ...

    def close(self) -> None: ...
