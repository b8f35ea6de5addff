"""Idempotency keys: the claim of a key for its request, and the rules that all keys of a token are under."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyRules:
    """Bounds of the keys of one owner: a claim holds for `held_s` seconds unless it is renewed, a key is known for
    `kept_s` seconds after its latest use, and at most `most_keys` may be new in `kept_s`."""

    held_s: float
    kept_s: float
    most_keys: int


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """A claim of a key of `owner` for the request with that digest.

    `act_id` is the same for each claim of the key while it is known, so that the ids of all that its request makes can
    follow from it. `is_first` is False where an earlier claim ended without an answer: its work may have been done.
    `hold` is a secret of this claim; `answer` is that of an earlier one, None where the request is now to be done.
    """

    owner: str
    key: str
    digest: str
    act_id: str
    hold: str
    is_first: bool = True
    answer: bytes | None = None
