"""What is kept of models, processes and what was found, and who watches."""

from collections.abc import Sequence
from typing import Protocol

from optagent.domain.alert import Alert
from optagent.domain.audit import AuditEntry, AuditPage
from optagent.domain.gate import Verdict
from optagent.domain.ledger import HoldoutLook
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import MonitorState, WatchMark
from optagent.domain.process import Process
from optagent.domain.rollout import Rollout


class Store(Protocol):
    """Keeps models and processes. What it acknowledged survives a crash of any process, the store's own included."""

    async def check(self) -> None:
        """Raises Unavailable, by name and within 5 s, when the store does not answer."""
        ...

    async def close(self) -> None: ...

    async def save_model(self, spec: ModelSpec) -> None: ...

    async def model(self, model_id: str) -> ModelSpec:
        """Raises ModelNotFound."""
        ...

    async def models(self) -> list[ModelSpec]:
        """All models, by id."""
        ...

    async def create_process(self, process: Process, lease_s: float) -> None:
        """Stores a new process held by the caller for `lease_s`; raises Conflict where the id is taken."""
        ...

    async def enqueue_process(self, process: Process) -> None:
        """Stores a new process of status QUEUED, which nobody holds; raises Conflict where the id is taken."""
        ...

    async def claim_process(self, process_id: str, lease_s: float) -> Process:
        """Takes a queued process, which is PENDING and held by the caller from then on: only a process with the
        `holder` that is answered can be saved.

        A durable process whose lease ran out is queued again, for five runners in all. Raises ProcessNotFound, and
        Conflict where it is not queued (any more).
        """
        ...

    async def save_process(self, process: Process) -> None:
        """Replaces a stored process; raises ProcessNotFound, Conflict where an ended one would go on, and LeaseLost
        where another runner has taken it."""
        ...

    async def renew_lease(self, process: Process, lease_s: float) -> None:
        """Says that the process's runner is alive; raises ProcessNotFound, and LeaseLost where another runner has taken
        it, whose lease stays as it is."""
        ...

    async def process(self, process_id: str) -> Process:
        """Raises ProcessNotFound. One that has not ended and whose lease ran out reads as INTERRUPTED, a durable one
        as QUEUED."""
        ...

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        """The newest first."""
        ...

    async def request_cancel(self, process_id: str) -> None:
        """Asks the runner of a process to stop; raises ProcessNotFound."""
        ...

    async def cancel_requested(self, process_id: str) -> bool: ...

    async def save_report(self, key: str, digest: str, report: ModelReport) -> None:
        """Keeps a report under `key`, with the digest of the rows that it was made of; replaces an older one.

        What is kept may be dropped after a month.
        """
        ...

    async def report(self, key: str, digest: str) -> ModelReport | None:
        """The report kept under `key`, if it was made of rows of that digest."""
        ...

    async def save_watch_mark(self, model_id: str, mark: WatchMark) -> None:
        """Says how far a model was watched; replaces an older mark."""
        ...

    async def watch_mark(self, model_id: str) -> WatchMark:
        """The mark that was saved last; an empty one where none was."""
        ...

    async def save_alerts(self, alerts: Sequence[Alert]) -> None:
        """Stores each alert, or replaces the one of its id."""
        ...

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        """Of all models or of one: the open ones first, then those resolved last."""
        ...

    async def first_time(self, key: str, kept_s: float) -> bool:
        """Whether this is the first time that a key is asked for; of many who ask at once, one hears True.

        The key is remembered for `kept_s` seconds from then on, and is new again afterwards.
        """
        ...

    async def remember(self, key: str, kept_s: float) -> None:
        """Has `first_time` answer False for a key for `kept_s` seconds from now on, whatever was said before."""
        ...

    async def create_rollout(self, rollout: Rollout) -> None:
        """Stores a new rollout; raises Conflict where the id is taken or another rollout of the model is active."""
        ...

    async def save_rollout(self, rollout: Rollout, before: Rollout) -> None:
        """Replaces `before` by `rollout`; raises Conflict where what is stored is no longer `before`, and NotFound."""
        ...

    async def rollout(self, rollout_id: str) -> Rollout:
        """Raises NotFound."""
        ...

    async def rollouts(self, model_id: str | None = None, limit: int = 100) -> list[Rollout]:
        """The newest first, of all models or of one."""
        ...

    async def spend_look(self, holdout_digest: str, look: HoldoutLook) -> int:
        """Writes a look at a holdout, before it is made, and answers which it is, counted from 1.

        One of the same process and candidate is the same look, and has the number that it had. Raises InvalidRequest
        for a look at another holdout.
        """
        ...

    async def settle_look(self, holdout_digest: str, number: int, verdict: Verdict) -> None:
        """Says what came of a look; the last word counts. Raises NotFound."""
        ...

    async def looks(self, holdout_digest: str) -> list[HoldoutLook]:
        """Every look at a holdout, the first one first; none is ever dropped."""
        ...

    async def append_audit(self, entry: AuditEntry) -> None:
        """Makes the entry the next link of the log's chain; InvalidRequest where it cannot be canonical JSON."""
        ...

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        """The newest first. Older ones than the last 100,000 may be dropped."""
        ...

    async def audit_links(self, after: int = 0, limit: int = 1000) -> AuditPage:
        """Links as they are kept, whatever they hold: the oldest first, from the one after sequence number `after`.

        Places are counted, so that a log that was altered can be read too.
        """
        ...


class Monitors(Protocol):
    """Watches models for as long as the cluster lives. Raises Unavailable where the cluster does not answer."""

    def start(self, model_id: str, shards: int = 1) -> None:
        """Has a model watched, once its monitors answer; those that run already go on."""
        ...

    def stop(self, model_id: str) -> None: ...

    def running(self) -> list[MonitorState]:
        """By model and shard."""
        ...

    def close(self) -> None: ...
