"""Loaded versions: a served model with what a gateway keeps beside it, its thread, its shadow and its breaker."""

from concurrent.futures import ThreadPoolExecutor

from optagent.serving.engine import ServedModel
from serve_app.data_plane.breaker import Breaker
from serve_app.data_plane.shadow import Shadow


class Version:
    """A loaded version, with a thread of its own where its engine blocks, so that no other version waits for it."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.blocks = model.engine.blocks
        self.pool = ThreadPoolExecutor(1, "optagent-engine") if self.blocks else None
        self.shadow: Shadow | None = None
        self.breaker = Breaker()

    def close(self) -> None:
        if self.shadow is not None:
            self.shadow.close()
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
        self.model.close()
