"""How people are told."""

from collections.abc import Sequence
from typing import Protocol

from optagent.domain.notice import Notice


class Notifier(Protocol):
    """Tells people by message, over one channel or several."""

    def send(self, notices: Notice | Sequence[Notice]) -> None:
        """Tells of a notice, or of several as one message, over every channel. Blocks, for a bounded time.

        Raises Unavailable with the kind of each channel that did not take it, never its address; the other channels
        have told it then, and do not tell it again when the same notices are sent once more.
        """
        ...

    def close(self) -> None:
        """Sends nothing from then on."""
        ...
