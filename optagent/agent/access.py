"""The verbs of running the product: who may use it, who did what, and how its parts are."""

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from optagent.agent.desk import Desk
from optagent.domain.audit import AuditEntry, ChainPoint, point_of
from optagent.domain.audit_chain import ChainReport, Verification, closing_line, opening_line
from optagent.domain.token import Token, digest_of, scopes_named, token_text
from optagent.errors import Busy, Conflict, InvalidRequest
from optagent.ports import Tokens

OK = "ok"
_ANSWER_S = 5.0
_PORTION = 1000


def new_token(name: str, scopes: Sequence[str], expires_s: float | None, now: float) -> tuple[str, Token]:
    """A token with a secret of its own, as its holder has it and as it is kept."""
    if expires_s is not None and not 0 < expires_s < math.inf:
        raise InvalidRequest(f"expires_s must be above 0 seconds, got {expires_s!r}")
    token_id = secrets.token_hex(6)
    text = token_text(token_id, secrets.token_urlsafe(32))
    until = None if expires_s is None else now + expires_s
    return text, Token(token_id, name, digest_of(text), scopes_named(tuple(scopes)), now, until)


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """A file that only its owner may read, and that is gone again where writing it failed."""
    try:
        path.touch(mode=0o600, exist_ok=False)
        try:
            with path.open("w", encoding="utf-8", newline="\n") as file:
                yield file
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except FileExistsError:
        raise Conflict(f"{path} exists already: give the name of a new file") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror}") from None


class AccessVerbs(Desk):
    """Hands out tokens, keeps the audit log, and asks the parts how they are."""

    async def create_token(self, name: str, scopes: Sequence[str], expires_s: float | None = None) -> tuple[str, Token]:
        """A new token: its text, which is kept nowhere and shown this once, and what is kept of it.

        Scopes are read, predict, operate (includes read) and admin (includes all).
        """
        text, token = new_token(name, scopes, expires_s, self._outside.clock.now())
        await self._tokens().create(token)
        return text, token

    async def tokens(self) -> list[Token]:
        """The newest first, with expired and revoked ones."""
        return await self._tokens().tokens()

    async def revoke_token(self, token_id: str) -> Token:
        """Ends a token within seconds; raises NotFound."""
        return await self._tokens().revoke(token_id, self._outside.clock.now())

    async def record_audit(self, entry: AuditEntry) -> None:
        """Appends a line to the audit log."""
        await self._store.append_audit(entry)

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        """The newest lines of the audit log, the latest first."""
        return await self._store.audit(limit)

    async def verify_audit(self, noted: str | None = None) -> ChainReport:
        """Whether the audit log is whole: no entry altered, none missing, all in their order, from the oldest kept on.

        `noted` is the head of an earlier report, `SEQUENCE:DIGEST`, that was kept elsewhere: the log must still hold
        it. Without one, a log that was written anew by somebody who can write the whole store is not seen.
        """
        return await self._verified(None if noted is None else point_of(noted), lambda lines: None)

    async def export_audit(self, path: str | Path) -> ChainReport:
        """Writes the audit log as lines of JSON to a new file, which can be verified alone; what came of verifying it.

        An altered log is exported as it is. Raises Conflict where the file exists and InvalidRequest where it cannot
        be written.
        """
        with new_file(Path(path)) as file:
            return await self._verified(None, lambda lines: file.writelines(f"{line}\n" for line in lines))

    async def health(self) -> dict[str, str]:
        """Each part that this agent needs, and "ok" or why it is not; within 5 s, and never an exception."""
        outside = self._outside
        parts: dict[str, Awaitable[None]] = {
            "redis": self._store.check(),
            "mlflow": asyncio.to_thread(outside.tracker.check),
        }
        if outside.observations is not None:
            parts["observations"] = asyncio.to_thread(outside.observations.check)
        said = await asyncio.gather(*(_state(check) for check in parts.values()))
        return dict(zip(parts, said, strict=True))

    async def _verified(self, noted: ChainPoint | None, keep: Callable[[list[str]], None]) -> ChainReport:
        """Verifies the log a portion at a time, and has the lines of an export kept on the way, in a thread.

        Raises Busy where links were dropped faster than they were read.
        """
        page = await self._store.audit_links(0, _PORTION)
        verification, after = Verification(page.start, noted), page.start.sequence
        lines = [opening_line(page.start)]
        while True:
            verification.take(page.links)
            lines += [link.line for link in page.links]
            if len(page.links) < _PORTION:
                await asyncio.to_thread(keep, [*lines, closing_line(page.head)])
                return verification.report(page.head)
            await asyncio.to_thread(keep, lines)
            after, lines = after + len(page.links), []
            page = await self._store.audit_links(after, _PORTION)
            if page.start.sequence > after:
                raise Busy(f"the audit log dropped links while it was read, up to {page.start.sequence}: try again")

    def _tokens(self) -> Tokens:
        if self._outside.tokens is None:
            raise InvalidRequest("this agent keeps no tokens: give it `tokens`")
        return self._outside.tokens


async def _state(check: Awaitable[None]) -> str:
    try:
        await asyncio.wait_for(check, _ANSWER_S)
    except TimeoutError:
        return f"does not answer within {_ANSWER_S:g} s"
    except Exception as error:
        return str(error) or type(error).__name__
    return OK
