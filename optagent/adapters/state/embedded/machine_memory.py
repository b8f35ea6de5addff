"""Machine memory: the bytes that this process may use, of the machine or of its container."""

import os
from contextlib import suppress
from pathlib import Path

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_LEAST = 256_000_000
_SHARE = 4  # a quarter: models, searches and the archive's batches live in the same machine
_UNKNOWN = 4_000_000_000


def default_redis_memory(limits: tuple[str, ...] = _LIMITS) -> int:
    """The bytes that an embedded Redis may take: a quarter of the memory, at least 256 MB."""
    return max(_LEAST, machine_memory(limits) // _SHARE)


def machine_memory(limits: tuple[str, ...] = _LIMITS) -> int:
    """The memory of the machine, or the limit of the container where that is less; 4 GB where nobody tells."""
    sizes = []
    with suppress(ValueError, OSError, AttributeError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in limits:
        with suppress(ValueError, OSError):  # absent, or "max"
            sizes.append(int(Path(path).read_text()))
    return min((size for size in sizes if size > 0), default=_UNKNOWN)
