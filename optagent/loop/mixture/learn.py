"""Learning pass of a mixture: the labels that have come change its weights, and the weights that answer follow them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from optagent.domain.mixture import (
    JOINED,
    RETIRED,
    MixtureEvent,
    MixtureMode,
    MixturePoint,
    MixtureRecord,
    MixtureWeights,
)
from optagent.domain.rollout import AUTOMATIC
from optagent.domain.slot import CHAMPION_SLOT, SEARCH_SLOT, parse_slot
from optagent.loop.mixture.answered_rows import MixtureRows, learned_table, pack_table
from optagent.mixing.guard import GuardedRows, champion_share
from optagent.mixing.learner import MixtureLearner
from optagent.mixing.scorer import MixtureScorer

LEAST_MOVE = 0.001
"""New weights answer only where some answer would move by more, as a probability or a part of a regression's range."""

_MOST_POINTS = 400
_RECORDED_WITHIN_S = 3600.0
_TRIED_ROWS = 200


@dataclass(frozen=True, slots=True)
class LearningPass:
    """The journal after a pass, and the rows that it learned."""

    record: MixtureRecord
    rows: MixtureRows


def follow_policy(record: MixtureRecord, slots: Sequence[str], now: float) -> MixtureRecord:
    """The journal with the slots that its policy names: new ones join, and those that it no longer names retire.

    A slot that an optimization has added beside them stays.
    """
    present = record.state["slots"]
    joined = [(JOINED, name) for name in slots if name not in present]
    retired = [(RETIRED, name) for name in present if name not in slots and name != SEARCH_SLOT]
    return change_slots(record, [*joined, *retired], now)


def change_slots(record: MixtureRecord, changes: Sequence[tuple[str, str]], now: float) -> MixtureRecord:
    """The journal after slots have joined or retired, in this order; each change is a kind of event and a slot."""
    if not changes:
        return record
    learner = MixtureLearner.from_plain(record.state)
    events = [MixtureEvent(now, AUTOMATIC, kind, record.passes, {"slot": name}) for kind, name in changes]
    for event in events:
        apply_slot_event(learner, event)
    number = record.passes + 1  # other slots are another state, whose digest is not that of the last pass
    return replace(record, state=learner.to_plain(), passes=number, events=(*record.events, *events))


def apply_slot_event(learner: MixtureLearner, event: MixtureEvent) -> None:
    """Lets the slot of an event join the learner, or retire from it."""
    change = learner.add_slot if event.kind == JOINED else learner.remove_slot
    change(str(event.detail["slot"]))


def learn_rows(
    record: MixtureRecord,
    answered: MixtureRows,
    champion: str,
    now: float,
    waits_for: str = "",
    missing: Collection[str] = (),
) -> LearningPass:
    """Learns the rows whose labels have come, in the order of their requests, and weighs the answers anew.

    `champion` is the version that the champion's slot stands for now, and any slot whose version is `missing`. A frozen
    mixture learns nothing, nor does one that `waits_for` a fault to end: labelled rows wait as if they had no label.
    """
    learner = MixtureLearner.from_plain(record.state)
    labelled, newest = np.isfinite(answered.y), _count_since(answered, record.looked_at)
    most_open = max(record.most_open, len(answered))
    is_held = record.mode is MixtureMode.FROZEN or bool(waits_for)
    batch, waiting = answered.where(labelled & (not is_held)), answered.where(~labelled | is_held)
    for _, rows in batch.runs():
        learner.learn(rows)
    record = replace(
        record,
        looked_at=now,
        most_open=most_open,
        open_since=_open_since(waiting, now),
        held_since=(record.held_since or now) if is_held else 0.0,
        waits_for=waits_for,
        given_up=answered.given_up,
    )
    if len(batch):
        record = _add_pass(record, learner, batch)
    guarded = GuardedRows(len(waiting), most_open, newest)
    weights = weights_of(record, learner, champion, guard_of(learner, waiting, guarded), missing)
    if not record.published_at or answers_move(record.published, weights, answered):
        record = replace(record, published=weights, published_at=now, is_settled=False)
    return LearningPass(record, batch)


def _add_pass(record: MixtureRecord, learner: MixtureLearner, batch: MixtureRows) -> MixtureRecord:
    """The journal once the learner has learned the rows of one more pass."""
    number = record.passes + 1
    return replace(
        record,
        state=learner.to_plain(),
        passes=number,
        pending=pack_table(learned_table(batch, number)),
        is_settled=False,
        history=add_point(record.history, learner, record.looked_at),
    )


def weights_of(
    record: MixtureRecord, learner: MixtureLearner, champion: str, guard: float, missing: Collection[str] = ()
) -> MixtureWeights:
    """The weights that the learner has now; a slot whose model is not there, or not yet, has the champion's."""
    versions = [version_of(name, record) or champion for name in learner.slots]
    return learner.weights([champion if version in missing else version for version in versions], guard)


def version_of(slot: str, record: MixtureRecord) -> str | None:
    """The version of a slot's own; None for the champion's slot, and for one that has no model yet."""
    return None if slot == CHAMPION_SLOT else parse_slot(slot).version or record.versions.get(slot)


def guard_of(learner: MixtureLearner, waiting: MixtureRows, rows: GuardedRows) -> float:
    """The champion's share beyond its own weight, for which no delay can break the bound against it."""
    champion, rates = learner.slots.index(CHAMPION_SLOT), len(learner.form.rates)
    excess = 0.0
    for _, run in waiting.runs():
        if CHAMPION_SLOT in run.slots:
            own = run.said[:, rates + run.slots.index(CHAMPION_SLOT)]
            answered = np.isfinite(own).all(axis=1)
            excess += float(learner.form.worst_excess(run.scores[answered], own[answered]).sum())
    own_weight = float(learner.top @ learner.layers[:, rates + champion])
    behind = float(learner.regret[champion]) + max(0.0, excess)
    return champion_share(own_weight, behind, learner.bound, learner.form.most_excess, rows)


def answers_move(published: MixtureWeights | None, weights: MixtureWeights, answered: MixtureRows) -> bool:
    """True where new weights would change an answer enough to be published, tried on the newest rows.

    Without any, a guard that differs is taken to change one.
    """
    if published is None or (published.slots, published.versions) != (weights.slots, weights.versions):
        return True
    if published.digest == weights.digest and published.guard == weights.guard:
        return False
    before, after = MixtureScorer(published), MixtureScorer(weights)
    runs = [rows for _, rows in answered.runs() if rows.slots == weights.slots]
    if not runs:
        return abs(published.guard - weights.guard) > LEAST_MOVE
    for rows in runs:
        slots = rows.said[-_TRIED_ROWS:, len(weights.mixers) : len(weights.mixers) + len(weights.slots)]
        moved = np.abs(before.mix_bounded(slots).scores - after.mix_bounded(slots).scores)
        if np.nanmax(moved, initial=0.0) > LEAST_MOVE * (weights.high - weights.low):
            return True
    return False


def add_point(history: tuple[MixturePoint, ...], learner: MixtureLearner, now: float) -> tuple[MixturePoint, ...]:
    """The history with the learner's present sums; of too many points, every second one goes."""
    point = MixturePoint(
        now,
        learner.rows,
        learner.loss,
        learner.slots,
        tuple(learner.slot_loss.tolist()),
        tuple(learner.slot_weights.tolist()),
    )
    kept = history if len(history) < _MOST_POINTS else history[::2]
    return (*kept, point)


def _open_since(waiting: MixtureRows, now: float) -> float:
    """The time of the oldest row that waits for its label, and an hour at least, for rows that are recorded late."""
    oldest = float(waiting.time_us[0] - 1) / 1e6 if len(waiting) else now  # a float may be above the microsecond
    return min(oldest, now - _RECORDED_WITHIN_S)


def _count_since(answered: MixtureRows, since: float) -> int:
    return int((answered.time_us >= since * 1e6).sum())
