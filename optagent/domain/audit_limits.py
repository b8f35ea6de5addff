"""Audit entry limits: texts are cut, and large values of a detail are replaced by their size and SHA-256."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

TEXT_LIMITS = {"actor": 200, "action": 100, "target": 300, "outcome": 1000, "request_id": 200}
"""The most characters of an entry's texts."""

DETAIL_BYTES = 4096
"""The most bytes of a detail as canonical JSON: with its texts a link takes some 6 KB at most."""

DECISION_BYTES = 65_536
"""The same of a gate decision, which this program makes and has to replay: some 3 KB, and 300 bytes for each gate."""

_SMALL_BYTES = 256  # a value of at most this size stays beside a large one, so that ids and steps can still be read
_KEYS_SHOWN = 20
_KEY_LENGTH = 30  # characters, of which JSON makes up to 6 bytes each


def cut_text(text: str, limit: int) -> str:
    """`text`, or its beginning and its length where it is longer than `limit` characters.

    >>> cut_text("a" * 100, 30)
    'aaaaaaaaaa... (100 characters)'
    """
    if len(text) <= limit:
        return text
    rest = f"... ({len(text)} characters)"
    return text[: limit - len(rest)] + rest


def bound_detail(detail: Mapping[str, Any], limit: int = DETAIL_BYTES) -> Mapping[str, Any]:
    """`detail`, or what identifies it within `limit` bytes of canonical JSON.

    A large value becomes `{"bytes": size, "sha256": digest}` of its canonical JSON. Where that is not enough, the whole
    detail becomes this, with its first keys. Raises what `json` raises for values that are not of JSON.
    """
    text = compact_json(detail).encode()
    if len(text) <= limit:
        return detail
    bounded = {key: _bound_value(value) for key, value in detail.items()}
    if len(compact_json(bounded).encode()) <= limit:
        return bounded
    keys = [cut_text(str(key), _KEY_LENGTH) for key in sorted(detail)[:_KEYS_SHOWN]]
    return {**_identify(text), "keys": keys}


def compact_json(value: Any) -> str:
    """JSON with sorted keys, without whitespace, of finite numbers; TypeError or ValueError for anything else."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False, default=_as_dict
    )


def _bound_value(value: Any) -> Any:
    text = compact_json(value).encode()
    return value if len(text) <= _SMALL_BYTES else _identify(text)


def _identify(text: bytes) -> dict[str, Any]:
    return {"bytes": len(text), "sha256": sha256(text).hexdigest()}


def _as_dict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not of JSON")
