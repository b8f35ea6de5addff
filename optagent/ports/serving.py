"""What serving needs from outside: tables and who answers by them, versions, tokens, kept answers, runners."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from optagent.domain.routing import RoutingTable
from optagent.domain.token import Token
from optagent.serving.engine import ServedModel


class Routes(Protocol):
    """Keeps the routing tables, and tells gateways of them.

    A model has an active table and may have a staged one, the next. Of all verbs, those that write are fenced: a table
    follows the one that its writer knew, or Conflict is raised and nothing is written. Raises Unavailable.
    """

    async def check(self) -> None:
        """Raises Unavailable, by name and within 5 s."""
        ...

    async def close(self) -> None: ...

    async def active(self, model_id: str) -> RoutingTable | None:
        """The table by which requests are answered, or will be from its `activate_at` on."""
        ...

    async def staged(self, model_id: str) -> RoutingTable | None:
        """The next table, for as long as it is not active."""
        ...

    async def tables(self) -> list[RoutingTable]:
        """Active and staged tables of all models, by model and revision: what a gateway that starts has to know."""
        ...

    async def stage(self, table: RoutingTable) -> None:
        """Keeps the next table (`activate_at` None) and tells all gateways to load its versions.

        Replaces a staged one. Raises Conflict unless its revision is one more than that of the active table (1 without
        one).
        """
        ...

    async def activate(self, model_id: str, revision: int, at: float) -> RoutingTable:
        """Makes the staged table of that revision the active one, from `at` on, and tells all gateways.

        Raises Conflict where no table of that revision is staged.
        """
        ...

    async def unstage(self, model_id: str, revision: int) -> None:
        """Forgets the staged table of that revision, if there is one, and tells all gateways."""
        ...

    async def gateways(self) -> Mapping[str, float]:
        """The gateways that are alive, by id, with the POSIX time at which each was last heard of."""
        ...

    async def acknowledged(self, model_id: str, revision: int) -> Mapping[str, str]:
        """What each gateway said of a table, by gateway: "" for loaded, otherwise why it cannot."""
        ...

    async def beat(self, gateway: str, alive_s: float) -> None:
        """Says that a gateway is alive, for the next `alive_s` seconds."""
        ...

    async def leave(self, gateway: str) -> None:
        """Says that a gateway has ended."""
        ...

    async def acknowledge(self, gateway: str, model_id: str, revision: int, error: str = "") -> None:
        """Says that a gateway has loaded a staged table's versions, or why it cannot."""
        ...

    def changes(self) -> AsyncIterator[RoutingTable | None]:
        """Each table that is staged or activated from now on; None where some may have been missed or one was unstaged.

        After None, ask for `tables`. It never ends and never raises: a server that is away is waited for. The first
        None comes at once, when listening has begun.
        """
        ...


class Loader(Protocol):
    """Makes versions ready to answer. Its verbs block: call them from threads, several at once."""

    def load(self, model_id: str, version: str) -> ServedModel:
        """The version with an engine; close it when it is needed no more.

        Raises ModelNotFound, CorruptBundle, EngineFailed where it cannot be brought up, and Unavailable.
        """
        ...

    def close(self) -> None:
        """Gives up what is being loaded, and closes what was."""
        ...


class Tokens(Protocol):
    """Keeps bearer tokens. Raises Unavailable."""

    async def close(self) -> None: ...

    async def create(self, token: Token) -> None:
        """Raises Conflict where the id is taken."""
        ...

    async def find(self, token_id: str) -> Token | None: ...

    async def tokens(self) -> list[Token]:
        """The newest first, with expired and revoked ones."""
        ...

    async def revoke(self, token_id: str, at: float) -> Token:
        """Raises NotFound. Revoking once more changes nothing."""
        ...


class IdempotencyStore(Protocol):
    """Keeps what was answered to a request under its idempotency key, so that the same request is done once."""

    async def claim(self, key: str, digest: str, held_s: float) -> bytes | None:
        """None where the caller is the first with this key, and has `held_s` seconds to `keep` its answer; else that.

        `digest` is that of the request. Raises Conflict where another request of this key is under way, and
        InvalidRequest where the key was used for a request of another digest.
        """
        ...

    async def keep(self, key: str, digest: str, answer: bytes, kept_s: float) -> None:
        """Keeps the answer of a claimed key."""
        ...

    async def release(self, key: str, digest: str) -> None:
        """Gives a claim back: the request failed, and may be tried again with the same key."""
        ...


class Launcher(Protocol):
    """Starts the runners of queued processes, each in a process of its own."""

    def launch(self, process_id: str) -> None:
        """Starts a runner for a queued process; starting what runs is no error. Raises Unavailable."""
        ...

    def close(self) -> None: ...
