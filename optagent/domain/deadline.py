"""Deadline: the moment at which the time of a whole command is over, from its start to its answer."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Deadline:
    """A limit of `limit_s` seconds that is over at `ends_at`, in seconds of a clock that never goes back.

    Both are infinite where a command has no limit.
    """

    limit_s: float = math.inf
    ends_at: float = math.inf

    @classmethod
    def after(cls, limit_s: float | None, began_at: float) -> "Deadline":
        """The deadline of a command that began at `began_at`; None is no limit."""
        return cls() if limit_s is None else cls(limit_s, began_at + limit_s)

    @property
    def is_set(self) -> bool:
        return math.isfinite(self.ends_at)

    def earlier_by(self, seconds: float) -> "Deadline":
        """The same limit, over so many seconds earlier."""
        return replace(self, ends_at=self.ends_at - seconds)

    def left_s(self, now: float) -> float:
        """The seconds that are left, 0 once the time is over.

        >>> Deadline.after(60.0, began_at=100.0).left_s(now=145.0)
        15.0
        """
        return max(0.0, self.ends_at - now)
