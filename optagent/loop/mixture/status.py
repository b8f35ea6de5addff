"""Mixture status from its journal: weights, losses of the slots, and the certificate in numbers and in words."""

from dataclasses import replace

from optagent.domain.mixture import MixtureMode, MixtureRecord
from optagent.domain.mixture_status import MixtureCertificate, MixtureStatus, SlotStanding
from optagent.domain.slot import CHAMPION_SLOT
from optagent.errors import NotFound
from optagent.mixing.learner import MixtureLearner
from optagent.ports import Store

_ROUNDING = 1e-6
_MOST_EVENTS = 100


async def read_status(model_id: str, store: Store) -> MixtureStatus:
    """The status of a model's mixture; raises ModelNotFound, and NotFound where it has none."""
    spec = await store.model(model_id)
    record, is_mixed = await store.mixture(model_id), spec.policy is not None and spec.policy.is_mixed
    if record is None:
        answers = "it has not begun" if is_mixed else "the champion answers alone"
        raise NotFound(f"model {model_id!r} has no mixture: {answers}")
    status = status_of(record)
    if not is_mixed:
        return replace(status, mode=str(MixtureMode.CHAMPION_ONLY), reason="the model's policy says answer: champion")
    return status


def status_of(record: MixtureRecord) -> MixtureStatus:
    """The status that a journal tells."""
    learner, published = MixtureLearner.from_plain(record.state), record.published
    standing = {} if published is None else dict(zip(published.slots, published.versions, strict=True))
    numbers = zip(
        learner.slots,
        learner.slot_weights.tolist(),
        learner.slot_rows.tolist(),
        learner.slot_loss.tolist(),
        learner.regret.tolist(),
        strict=True,
    )
    slots = tuple(
        SlotStanding(name, standing.get(name, ""), weight, int(rows), loss / rows if rows else None, -regret)
        for name, weight, rows, loss, regret in numbers
    )
    return MixtureStatus(
        record.model_id,
        str(record.mode),
        record.reason or (f"learning waits for the end of a fault: {record.waits_for}" if record.waits_for else ""),
        record.began_at,
        learner.rows,
        learner.loss / learner.rows if learner.rows else None,
        slots,
        certificate_of(record),
        record.passes,
        record.published_at,
        "" if published is None else published.digest,
        0.0 if published is None else published.guard,
        record.history,
        record.events[-_MOST_EVENTS:],
        record.forgotten,
    )


def certificate_of(record: MixtureRecord) -> MixtureCertificate:
    """The certificate that a journal tells."""
    state = record.state
    bound, delayed = float(state["bound"]), (record.most_open + 1) * float(state["bound"])
    behind_of, rows = dict(zip(state["slots"], state["regret"], strict=True)), int(state["rows"])
    worst = max(behind_of, key=lambda slot: behind_of[slot])
    behind_champion, behind = float(behind_of[CHAMPION_SLOT]), float(behind_of[worst])
    words = (
        f"On {rows:,} rows the answers were {_compare(behind_champion, rows)} the champion alone, and "
        f"{_compare(behind, rows)} the best slot, {worst}. They can be at most {bound:.2f} nats "
        f"behind any slot with labels at once, and {delayed:,.1f} with the {record.most_open:,} rows that have waited."
    )
    return MixtureCertificate(
        bound, record.most_open, delayed, behind, behind_champion, behind <= delayed + _ROUNDING, words
    )


def _compare(behind: float, rows: int) -> str:
    """The nats in words.

    >>> _compare(-12.0, 100)
    '12.0 nats (0.1200 a row) better than'
    """
    word = "worse" if behind > 0 else "better"
    return f"{abs(behind):.1f} nats ({abs(behind) / max(1, rows):.4f} a row) {word} than"
