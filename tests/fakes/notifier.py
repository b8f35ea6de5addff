"""Fake notifier: keeps notices instead of sending them."""

from collections.abc import Sequence

from optagent.domain.notice import Message, Notice, message_of
from optagent.errors import Unavailable


class InMemoryNotifier:
    """Keeps in `sent` each channel with its message; channels in `down` take none."""

    def __init__(self, channels: Sequence[str] = ("memory",)) -> None:
        self.sent: list[tuple[str, Message]] = []
        self.down: set[str] = set()
        self._told: dict[str, set[tuple[str, float]]] = {channel: set() for channel in channels}
        self._closed = False

    def send(self, notices: Notice | Sequence[Notice]) -> None:
        group = (notices,) if isinstance(notices, Notice) else tuple(notices)
        if self._closed:
            raise Unavailable("the notifier is closed")
        for channel, told in self._told.items():
            missing = [notice for notice in group if (notice.key, notice.at) not in told]
            if missing and channel not in self.down:
                self.sent.append((channel, message_of(missing)))
                told |= {(notice.key, notice.at) for notice in missing}
        if self.down:
            raise Unavailable(f"not told by {', '.join(sorted(self.down))}")
        for told in self._told.values():
            told -= {(notice.key, notice.at) for notice in group}

    def close(self) -> None:
        self._closed = True
