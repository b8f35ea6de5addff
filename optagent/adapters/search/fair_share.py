"""Fair share: the number of trials that a search may run at a time beside the other searches on its cluster."""

import time
from collections.abc import Callable

from ray.experimental import internal_kv

_PREFIX = "optagent:search:"
_BEATS_EVERY_S = 1.0
_GONE_AFTER_S = 30.0  # a search that was killed says no more


class FairShare:
    """A context in which a search announces itself on the cluster and counts the searches that run there.

    A search gives up a worker between two trials, so another one gets its share as soon as a trial ends.
    """

    def __init__(self, study_id: str, fitting: int, clock: Callable[[], float] = time.time) -> None:
        self._key = f"{_PREFIX}{study_id}".encode()
        self._fitting = fitting
        self._clock = clock
        self._looked_at = -_BEATS_EVERY_S
        self._share = fitting

    def __enter__(self) -> "FairShare":
        self.trials()
        return self

    def __exit__(self, *error: object) -> None:
        internal_kv._internal_kv_del(self._key)

    def trials(self) -> int:
        """The trials that fit on the cluster, shared by the searches that run; at least one."""
        if time.monotonic() - self._looked_at >= _BEATS_EVERY_S:
            self._looked_at = time.monotonic()
            now = self._clock()
            internal_kv._internal_kv_put(self._key, repr(now).encode())
            beats = [internal_kv._internal_kv_get(key) for key in internal_kv._internal_kv_list(_PREFIX)]
            running = sum(1 for beat in beats if beat is not None and now - float(beat) < _GONE_AFTER_S)
            self._share = max(1, self._fitting // max(1, running))
        return self._share
