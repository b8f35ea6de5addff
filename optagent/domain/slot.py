"""Slots of a mixture: ways of training, each of which is represented by the newest model that was trained its way."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from optagent.domain.duration import seconds
from optagent.errors import InvalidRequest

CHAMPION_SLOT = "champion"
"""The slot of the registry's champion as it is, which is never trained again."""

ALL_ROWS = "all"
"""The slot of the newest model that was trained on all rows."""

SEARCH_SLOT = "search"
"""The slot of the recipe that the latest search found, trained on all rows; it joins with the first one."""

DEFAULT_SLOTS = (CHAMPION_SLOT, ALL_ROWS, "1/4", "1/16")
"""The champion, and models of all rows, of the newest quarter and of the newest sixteenth.

Training these three takes 1.31 times the rows of one full training.
"""

MOST_SLOTS = 8

_SHARE = re.compile(r"1/([1-9]\d{0,3})")
_VERSION = re.compile(r"[1-9]\d{0,8}")


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot by its name as the user writes it.

    Exactly one is set: `share`, the newest part of the rows that its model learns from; `window_s`, their age in
    seconds; `version`, a registered version that stays; or none of them for the champion's slot.
    """

    name: str
    share: float | None = None
    window_s: float | None = None
    version: str | None = None

    @property
    def is_trained(self) -> bool:
        """True for a slot whose model is trained again and again."""
        return self.share is not None or self.window_s is not None


def parse_slot(text: str) -> Slot:
    """The slot of a name: `champion`, `all`, a share such as 1/4, a duration such as 90d, or a version's number.

    >>> parse_slot("1/16").share
    0.0625
    >>> parse_slot("90d").window_s
    7776000.0

    Raises InvalidRequest for any other text.
    """
    if text == CHAMPION_SLOT:
        return Slot(text)
    if text in (ALL_ROWS, SEARCH_SLOT):
        return Slot(text, share=1.0)
    if isinstance(text, str) and (share := _SHARE.fullmatch(text)) and int(share[1]) > 1:
        return Slot(text, share=float(Fraction(1, int(share[1]))))
    if isinstance(text, str) and _VERSION.fullmatch(text):
        return Slot(text, version=text)
    try:
        return Slot(text, window_s=seconds(text))
    except (InvalidRequest, AttributeError, TypeError):
        known = "champion, all, a share such as 1/4, a duration such as 90d, or a version's number"
        raise InvalidRequest(f"slots: unknown {text!r}; {known}") from None


def check_slots(names: Sequence[str]) -> None:
    """Raises InvalidRequest where these are no slots of one mixture: 2 to 8, each once, the champion's among them."""
    for name in names:
        parse_slot(name)
    if not 2 <= len(names) <= MOST_SLOTS:
        raise InvalidRequest(f"slots: a mixture has 2 to {MOST_SLOTS}, got {list(names)}")
    if len(set(names)) < len(names):
        raise InvalidRequest(f"slots: a name stands twice in {list(names)}")
    if CHAMPION_SLOT not in names:
        raise InvalidRequest(
            f"slots: {CHAMPION_SLOT!r} is needed, whose loss bounds that of the mixture, got {list(names)}"
        )
