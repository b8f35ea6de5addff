"""Notification port: sends notices to people over messaging channels."""

from collections.abc import Sequence
from typing import Protocol

from optagent.domain.notice import Notice


class Notifier(Protocol):
    """Sends notices over one channel or several."""

    def send(self, notices: Notice | Sequence[Notice]) -> None:
        """Sends a notice, or several as one message, over every channel. Blocks, for a bounded time.

        Raises Unavailable with the kind of each channel that did not accept the message, never its address; the other
        channels have sent it then, and do not send it again when `send` is called with the same notices.
        """
        ...

    def close(self) -> None:
        """Closes the notifier, which sends nothing from then on."""
        ...
