"""Actors: the people and programs that change something, each with the door through which its request came."""

from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256


class Door(StrEnum):
    """The way by which a request reached an agent. Only `HTTP` and `DASHBOARD` ask for a token."""

    HTTP = "http"
    DASHBOARD = "dashboard"
    COMMAND_LINE = "cli"
    JOB = "job"
    SDK = "sdk"
    SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change. `name` is that of a token, which need not be unique, or of a user of the machine.

    `request_id` is chosen by the client and identifies nobody. `act_id` is the same for each repetition of a request
    under one idempotency key: the ids of all that it makes follow from it, so that what is done twice exists once.
    """

    name: str
    door: Door
    token_id: str = ""
    request_id: str = ""
    act_id: str = ""

    def __str__(self) -> str:
        """The text in the audit log and in rollouts. No token can have a name that reads like another kind of actor.

        >>> str(Actor("ci", Door.HTTP, "0f1e2d3c4b5a")), str(Actor("ana", Door.COMMAND_LINE))
        ('ci (0f1e2d3c4b5a)', 'local:ana (cli)')
        """
        if self.door is Door.SUPERVISOR:
            return self.name
        if self.door is Door.HTTP:
            return f"{self.name} ({self.token_id})"
        if self.door is Door.DASHBOARD:
            return f"{self.name} ({self.token_id}, {self.door})"
        return f"local:{self.name} ({self.door})"

    def derive_id(self, kind: str) -> str:
        """The id, of 12 hexadecimal digits, of what this request makes of that kind; empty without an `act_id`."""
        return sha256(f"{self.act_id}:{kind}".encode()).hexdigest()[:12] if self.act_id else ""

    def part(self, number: int) -> "Actor":
        """The actor of one part of a request that makes several things of one kind."""
        return replace(self, act_id=f"{self.act_id}:{number}") if self.act_id else self
