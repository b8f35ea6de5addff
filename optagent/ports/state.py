"""State ports: the store of models, processes, reports, rollouts and audit entries, and the monitors of models."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from optagent.domain.alert import Alert
from optagent.domain.audit import AuditEntry, AuditPage
from optagent.domain.audit_anchor import AuditTrust
from optagent.domain.gate import Verdict
from optagent.domain.label_maturity import LabelHistory
from optagent.domain.ledger import HoldoutLook
from optagent.domain.mixture import MixtureRecord
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import MonitorState, WatchMark
from optagent.domain.prediction_interval import IntervalRecord
from optagent.domain.process import Process, ProcessSummary
from optagent.domain.quality_point import MOST_POINTS, QualityPoint
from optagent.domain.queue_order import QueueHead
from optagent.domain.rollout import Rollout
from optagent.domain.vital_signs import StoreMemory


class Store(Protocol):
    """Keeps models and processes. Once a write has returned, it survives a crash of any process, even the store's.

    Lists leave out records that cannot be decoded, which `unreadable_records` names; reading one by its id raises
    OptAgentError.
    """

    async def check(self) -> None:
        """Raises Unavailable, by name and within 5 s, when the store does not answer."""
        ...

    async def close(self) -> None: ...

    async def memory(self) -> StoreMemory:
        """The memory of the store's server; zeros where it keeps all in this process."""
        ...

    def unreadable_records(self) -> list[str]:
        """A sentence for each record that was left out of the lists that were read through this store."""
        ...

    async def save_model(self, spec: ModelSpec) -> None:
        """Stores a model, or replaces the model of the same id."""
        ...

    async def create_model(self, spec: ModelSpec) -> None:
        """Stores a new model; raises Conflict where the id is taken."""
        ...

    async def replace_model(self, spec: ModelSpec, before: ModelSpec) -> None:
        """Replaces `before` by `spec`; raises Conflict where the stored one is another one, and ModelNotFound."""
        ...

    async def model(self, model_id: str) -> ModelSpec:
        """The model of that id; raises ModelNotFound."""
        ...

    async def models(self) -> list[ModelSpec]:
        """All models, by id."""
        ...

    async def create_process(self, process: Process, lease_s: float) -> None:
        """Stores a new process, leased to the caller for `lease_s` seconds; raises Conflict where the id is taken."""
        ...

    async def enqueue_process(self, process: Process, max_queued: int | None = None) -> None:
        """Stores a new process of status QUEUED, without a runner.

        Raises Conflict where the id is taken, and Busy where `max_queued` processes wait already.
        """
        ...

    async def claim_process(self, process_id: str, lease_s: float) -> Process:
        """Leases a queued process to the caller; it is PENDING from then on.

        Only a process with the returned `holder` can be saved. A durable process whose lease ran out is queued again,
        for five runners in total. Raises ProcessNotFound, and Conflict where it is not (or no longer) queued.
        """
        ...

    async def save_process(self, process: Process) -> None:
        """Replaces a stored process.

        Raises ProcessNotFound, Conflict where an ended process would continue, and LeaseLost where another runner has
        taken it.
        """
        ...

    async def renew_lease(self, process: Process, lease_s: float) -> None:
        """Extends the lease of the process's runner.

        Raises ProcessNotFound, and LeaseLost where another runner has taken the process; the other's lease is not
        changed.
        """
        ...

    async def process(self, process_id: str) -> Process:
        """The process of that id; raises ProcessNotFound.

        A process that has not ended and whose lease ran out reads as INTERRUPTED, a durable one as QUEUED.
        """
        ...

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        """The processes of all models or of one, the newest first."""
        ...

    async def processes_of_kind(self, model_id: str, kind: str, limit: int = 100) -> list[Process]:
        """The processes of a kind of one model, the newest first."""
        ...

    async def process_summaries(self, model_id: str, kind: str, since: float) -> list[ProcessSummary]:
        """The processes of a kind of one model that were created at `since` or later, and the newest one in any case.

        The newest comes first. Their results are not read.
        """
        ...

    async def latest_ends(self, limit: int = 100) -> list[Process]:
        """The processes that ended, or lost their runner for good, the latest first; of 10,000 at least."""
        ...

    async def unended_processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        """The processes of all models or of one that have not ended, the newest first."""
        ...

    async def queue_head(self, limit: int) -> QueueHead:
        """All processes with a runner, and up to `limit` each of those that wait and of those that are to stop.

        The number of processes that have ended, or that wait behind these, does not matter.
        """
        ...

    async def queue_places(self, process_ids: Sequence[str]) -> dict[str, int]:
        """The places in the queue of those of the processes that wait, from 1."""
        ...

    async def old_processes(self, model_id: str, before: float, limit: int = 1000) -> list[Process]:
        """The processes of a model that were created before that time (POSIX seconds), the oldest first."""
        ...

    async def drop_processes(self, processes: Sequence[Process]) -> int:
        """Deletes the records of ended processes, and returns their number; one that goes on after all stays."""
        ...

    async def request_cancel(self, process_id: str) -> None:
        """Asks the runner of a process to stop; raises ProcessNotFound."""
        ...

    async def cancel_requested(self, process_id: str) -> bool: ...

    async def save_report(self, key: str, digest: str, report: ModelReport) -> None:
        """Stores a report under `key`, with the digest of its rows; replaces an older one.

        The store may drop it after a month.
        """
        ...

    async def find_report(self, key: str, digest: str) -> ModelReport | None:
        """The stored report of `key`; None without one, or where its rows have another digest."""
        ...

    async def save_quality(self, model_id: str, points: Sequence[QualityPoint]) -> None:
        """Stores points of a model's quality; each replaces the point of a window with the same end.

        The newest `MOST_POINTS` of a model are kept.
        """
        ...

    async def quality(
        self, model_ids: Sequence[str], since: float = 0.0, most: int = MOST_POINTS
    ) -> dict[str, list[QualityPoint]]:
        """The points of each of these models whose windows end at `since` (POSIX seconds) or later, the oldest first.

        Of each model, the newest `most` are read; a model without points has an empty list.
        """
        ...

    async def save_watch_mark(self, model_id: str, mark: WatchMark) -> None:
        """Says how far a model was watched; replaces an older mark."""
        ...

    async def watch_mark(self, model_id: str) -> WatchMark:
        """The mark that was saved last; an empty one where none was."""
        ...

    async def save_label_history(self, model_id: str, history: LabelHistory) -> None:
        """Stores the ages at which a model's labels came; replaces an older history."""
        ...

    async def label_history(self, model_id: str) -> LabelHistory:
        """The history that was saved last; an empty one where none was."""
        ...

    async def save_detector(self, model_id: str, state: Mapping[str, Any]) -> None:
        """Stores the state of a model's running detector of concept drift, as plain data; replaces an older one."""
        ...

    async def detector(self, model_id: str) -> Mapping[str, Any] | None:
        """The state that was saved last; None where none was."""
        ...

    async def save_mixture(self, record: MixtureRecord, before: MixtureRecord | None) -> None:
        """Replaces the journal `before` of a model's mixture, None for none; Conflict where the stored one differs."""
        ...

    async def mixture(self, model_id: str) -> MixtureRecord | None:
        """The journal of a model's mixture; None where it has none."""
        ...

    async def save_intervals(self, record: IntervalRecord, before: IntervalRecord | None) -> None:
        """Replaces the journal `before` of a model's intervals, as `save_mixture` does that of a mixture."""
        ...

    async def intervals(self, model_id: str) -> IntervalRecord | None:
        """The journal of a model's intervals; None where it has none."""
        ...

    async def save_alerts(self, alerts: Sequence[Alert]) -> None:
        """Stores each alert, or replaces the alert of the same id."""
        ...

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        """The alerts of all models or of one: first the open ones, then the most recently resolved ones."""
        ...

    async def claim_once(self, key: str, kept_s: float) -> bool:
        """Claims a key: True for the first caller, also where several call at once, and False for all others.

        The claim lasts for `kept_s` seconds; afterwards the key is free again.
        """
        ...

    async def mark_done(self, key: str, kept_s: float) -> None:
        """Marks a key as done: `claim_once` returns False for the next `kept_s` seconds; replaces an earlier claim."""
        ...

    async def create_rollout(self, rollout: Rollout) -> None:
        """Stores a new rollout; raises Conflict where the id is taken or another rollout of the model is active."""
        ...

    async def save_rollout(self, rollout: Rollout, before: Rollout) -> None:
        """Replaces `before` by `rollout`; raises Conflict where the stored one is no longer `before`, and NotFound."""
        ...

    async def rollout(self, rollout_id: str) -> Rollout:
        """The rollout of that id; raises NotFound."""
        ...

    async def rollouts(self, model_id: str | None = None, limit: int = 100) -> list[Rollout]:
        """The rollouts of all models or of one, the newest first."""
        ...

    async def drop_rollouts(self, rollouts: Sequence[Rollout]) -> int:
        """Deletes the records of ended rollouts, and returns their number; one that is active stays."""
        ...

    async def spend_look(self, ledger: str, look: HoldoutLook) -> HoldoutLook:
        """Records a look before it is made, and returns it as it is stored.

        A repeated look of the same process and candidate is the same look, as it was stored then. Raises Conflict where
        the look's number is not the next one of its ledger, counted from 1, and InvalidRequest for another ledger's.
        """
        ...

    async def settle_look(self, ledger: str, number: int, verdict: Verdict) -> None:
        """Records the verdict of a look; a later verdict replaces an earlier one. Raises NotFound."""
        ...

    async def looks(self, ledger: str) -> list[HoldoutLook]:
        """Every look of a ledger, the oldest first; none is ever dropped."""
        ...

    async def append_audit(self, entry: AuditEntry) -> None:
        """Appends the entry to the log's chain, within its limits; InvalidRequest where it cannot be canonical JSON."""
        ...

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        """The latest entries of the audit log, the newest first, of the last 100,000."""
        ...

    async def audit_links(self, after: int = 0, limit: int = 1000) -> AuditPage:
        """The stored links, unverified, the oldest first, from the one after sequence number `after`.

        They are counted by their place in the log, so that an altered log can be read, too. Those that left the store
        for its archive are read there. A page has fewer than `limit` links only at the end of the log.
        """
        ...

    async def audit_trust(self) -> AuditTrust:
        """The means to verify the log with that are kept outside of the store."""
        ...


class Monitors(Protocol):
    """Runs the monitors of models while the cluster lives. Raises Unavailable where the cluster does not answer."""

    def start(self, model_id: str, shards: int = 1) -> None:
        """Starts a model's monitors, and returns once they answer; those that run already continue."""
        ...

    def stop(self, model_id: str) -> None: ...

    def running(self) -> list[MonitorState]:
        """The states of the running monitors, by model and shard."""
        ...

    def close(self) -> None: ...
