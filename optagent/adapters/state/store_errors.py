"""Store errors: the refusals of every store, in the same words whatever the store keeps its records in."""

import math

from optagent.codec import encode
from optagent.domain.ledger import HoldoutLook
from optagent.domain.mixture import MixtureRecord
from optagent.domain.model import ModelSpec
from optagent.domain.prediction_interval import IntervalRecord
from optagent.domain.rollout import Rollout
from optagent.domain.routing import RoutingTable
from optagent.errors import Busy, Conflict, InvalidRequest, ModelNotFound, NotFound, TooManyRequests


def no_model(model_id: str) -> ModelNotFound:
    return ModelNotFound(f"no model {model_id!r}: optagent models lists them, optagent register FILE adds one")


def model_exists(model_id: str) -> Conflict:
    return Conflict(f"there is a model {model_id!r} already")


def checked_model_successor(spec: ModelSpec, before: ModelSpec, stored: ModelSpec) -> ModelSpec:
    """`spec`, which replaces `stored`; Conflict if that is not `before`, and not `spec` already.

    They are compared in their encoded form, so that only what is stored counts. A call that is repeated after a lost
    answer finds `spec`.
    """
    if encode(stored) not in (encode(before), encode(spec)):
        raise Conflict(f"model {spec.model_id!r} was changed by somebody else")
    return spec


def checked_mixture_successor(
    record: MixtureRecord, before: MixtureRecord | None, stored: MixtureRecord | None
) -> MixtureRecord:
    """`record`, which replaces `stored`; Conflict if that is not `before`, and not `record` already."""
    if not _may_replace(record, before, stored):
        raise Conflict(f"the mixture of {record.model_id!r} was changed by another process")
    return record


def checked_interval_successor(
    record: IntervalRecord, before: IntervalRecord | None, stored: IntervalRecord | None
) -> IntervalRecord:
    """`record`, the journal of intervals that replaces `stored`; Conflict as with a mixture."""
    if not _may_replace(record, before, stored):
        raise Conflict(f"the intervals of {record.model_id!r} were changed by another process")
    return record


def _may_replace(record: object, before: object | None, stored: object | None) -> bool:
    """True where the stored journal is the one that was read, or is `record` already."""
    known = [b"" if each is None else encode(each) for each in (before, record)]
    return (b"" if stored is None else encode(stored)) in known


def queue_full(max_queued: int) -> Busy:
    return Busy(f"{max_queued} processes wait already, and no more may wait (OPT_AGENT_MAX_QUEUED): try again later")


def no_rollout(rollout_id: str) -> NotFound:
    return NotFound(f"no rollout {rollout_id!r}")


def rollout_exists(rollout: Rollout) -> Conflict:
    return Conflict(f"rollout {rollout.rollout_id!r} exists already")


def another_rollout_active(rollout: Rollout, other: str) -> Conflict:
    return Conflict(f"rollout {other!r} of {rollout.model_id} is active; end it before another one starts")


def checked_successor(rollout: Rollout, before: Rollout, stored: Rollout) -> Rollout:
    """`rollout`, which replaces `stored`; Conflict if that is not `before`, or has ended and would be active again.

    The two are compared in their encoded form, so that only what is stored counts.
    """
    if encode(stored) != encode(before):
        raise Conflict(f"rollout {rollout.rollout_id!r} was changed by somebody else, it is {stored.state} now")
    if rollout.state.is_active and not stored.state.is_active:
        raise Conflict(f"rollout {rollout.rollout_id!r} is {stored.state}, it cannot become {rollout.state}")
    return rollout


def checked_stageable(table: RoutingTable) -> RoutingTable:
    if table.activate_at is not None:
        raise InvalidRequest(f"{_label(table)} is to be staged, it cannot have a time yet, got {table.activate_at!r}")
    return table


def not_next_revision(table: RoutingTable, latest: int) -> Conflict:
    active = f"table {latest} is active" if latest else "none is active"
    return Conflict(f"{_label(table)} cannot be staged: {active}, the next one is {latest + 1}")


def checked_staged(model_id: str, revision: int, staged: RoutingTable | None, at: float) -> RoutingTable:
    """The staged table; Conflict where no table of that revision is staged, InvalidRequest for a time that is none."""
    if not math.isfinite(at):
        raise InvalidRequest(f"the time from which a table is active must be a number, got {at!r}")
    if staged is None or staged.revision != revision:
        state = "none is" if staged is None else f"table {staged.revision} is"
        raise Conflict(f"table {revision} of {model_id} is not staged, {state}")
    return staged


def token_exists(token_id: str) -> Conflict:
    return Conflict(f"token {token_id!r} exists already")


def no_token(token_id: str) -> NotFound:
    return NotFound(f"no token {token_id!r}")


def request_under_way() -> Conflict:
    return Conflict("a request with this idempotency key is under way; ask again when it has ended")


def key_of_another_request() -> InvalidRequest:
    return InvalidRequest("this idempotency key was used for another request; each request needs a key of its own")


def too_many_keys(most_keys: int) -> TooManyRequests:
    return TooManyRequests(f"this token has used its {most_keys:,} idempotency keys of a day: wait, or send no key")


def checked_look(ledger: str, look: HoldoutLook) -> HoldoutLook:
    if look.ledger != ledger:
        raise InvalidRequest(f"a look of ledger {look.ledger} cannot be written to ledger {ledger}")
    return look


def look_taken(ledger: str, look: HoldoutLook) -> Conflict:
    return Conflict(f"look {look.number} of ledger {ledger} is not the next one: another one was written meanwhile")


def no_look(ledger: str, number: int) -> NotFound:
    return NotFound(f"no look {number} in ledger {ledger}")


def _label(table: RoutingTable) -> str:
    return f"table {table.revision} of {table.model_id}"
