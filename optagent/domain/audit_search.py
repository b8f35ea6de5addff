"""Audit search: the words and times by which entries of the audit log are found."""

from dataclasses import dataclass

from optagent.domain.audit import AuditEntry
from optagent.errors import InvalidRequest

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """Parts of the actor, the action and the target of an entry, all of which must fit, and its span of POSIX times.

    Upper and lower case are alike. `since` is inclusive, `until` is not; an empty text fits all entries. `target` also
    fits the id of the model, process or rollout in the entry's detail.
    """

    actor: str = ""
    action: str = ""
    target: str = ""
    since: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        for name in ("actor", "action", "target"):
            if len(getattr(self, name)) > _LONGEST:
                raise InvalidRequest(f"{name} must have at most {_LONGEST} characters")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise InvalidRequest(f"since ({self.since:g}) must be before until ({self.until:g})")

    @property
    def is_open(self) -> bool:
        """True where every entry fits."""
        return self == AuditSearch()

    def matches(self, entry: AuditEntry) -> bool:
        """True where an entry fits."""
        if (self.since is not None and entry.at < self.since) or (self.until is not None and entry.at >= self.until):
            return False
        if not _contains(entry.actor, self.actor) or not _contains(entry.action, self.action):
            return False
        names = (entry.detail.get(name) for name in ("model_id", "process_id", "rollout_id"))
        return any(_contains(str(text), self.target) for text in (entry.target, *names) if text is not None)


def _contains(text: str, part: str) -> bool:
    return part.casefold() in text.casefold()
