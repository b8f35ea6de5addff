"""Rollout replay: the rules decide a stored rollout again from its looks and manual acts, and must decide the same."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any

from optagent.domain.rollout import Rollout, Transition, abort, advance, begin, promote, rollback
from optagent.domain.rollout_look import JudgedLook, RolloutState
from optagent.errors import Conflict, InvalidRequest

_ACTS: dict[RolloutState, Callable[[Rollout, str, str, float, str | None], Rollout]] = {
    RolloutState.BAKING: promote,
    RolloutState.PROMOTED: promote,
    RolloutState.ABORTED: abort,
    RolloutState.ROLLED_BACK: rollback,
}
_OUTCOME = ("state", "step", "changed_at")
_NEWER = {(Transition, "looks"), (JudgedLook, "at")}  # older versions did not write them


@dataclass(frozen=True, slots=True)
class ReplayDifference:
    """A value that is stored otherwise than it is replayed: its place, and both values as text.

    `where` is such as `transition 2: reason`, counted from 1.
    """

    where: str
    stored: str
    replayed: str

    def __str__(self) -> str:
        return f"{self.where}: stored is {self.stored}, replayed {self.replayed}"


@dataclass(frozen=True, slots=True)
class RolloutReplay:
    """Numbers of the stored looks and transitions that come out the same, bit for bit, and the first difference.

    `is_ordered` is True where the rollout holds the order of looks and manual acts; older versions did not write it,
    and then the order is taken from the times.
    """

    rollout_id: str
    looks: int
    transitions: int
    is_ordered: bool
    difference: ReplayDifference | None = None

    @property
    def is_same(self) -> bool:
        return self.difference is None


def replay_rollout(rollout: Rollout) -> RolloutReplay:
    """Runs the rules over a stored rollout's looks again, and compares each judgment and transition bit for bit.

    Manual acts are the transitions without a look: they are repeated at their times, where the rules allow them.
    """
    is_ordered = all(change.looks is not None for change in rollout.transitions)
    replayed, refusal = _decide_again(rollout, is_ordered)
    looks, of_looks = _compare_in_order("look", rollout.looks, replayed.looks, refusal)
    changes, of_changes = _compare_in_order("transition", rollout.transitions, replayed.transitions, refusal)
    looks_before = replayed.transitions[changes].looks if changes < len(replayed.transitions) else None
    is_look_first = of_changes is None or looks < (math.inf if looks_before is None else looks_before)
    difference = (of_looks or of_changes) if is_look_first else (of_changes or of_looks)
    difference = difference or refusal or _first_difference("rollout", rollout, replayed, _OUTCOME)
    return RolloutReplay(rollout.rollout_id, looks, changes, is_ordered, difference)


def _decide_again(stored: Rollout, is_ordered: bool) -> tuple[Rollout, ReplayDifference | None]:
    """The rollout decided again up to the first step that the rules refuse, and that refusal, if any."""
    who = stored.transitions[0].by if stored.transitions else ""
    replayed = begin(
        stored.rollout_id,
        stored.model_id,
        stored.champion,
        stored.candidate,
        stored.policy,
        stored.started_at,
        who,
        stored.rules,
        stored.gate,
    )
    for step in _steps_in_order(stored, is_ordered):
        try:
            replayed = _take_step(step, replayed)
        except (Conflict, InvalidRequest) as error:
            return replayed, ReplayDifference(_step_name(step, stored), "taken", f"refused: {error}")
    return replayed, None


def _steps_in_order(stored: Rollout, is_ordered: bool) -> Iterator[JudgedLook | Transition]:
    """Looks and manual acts, in the order in which they came."""
    acts = [change for change in stored.transitions[1:] if change.look_id is None]
    for number, judged in enumerate(stored.looks):
        while acts and _came_before(acts[0], number, stored, is_ordered):
            yield acts.pop(0)
        yield judged
    yield from acts


def _came_before(act: Transition, number: int, stored: Rollout, is_ordered: bool) -> bool:
    """True where an act came before the look of that number, counted from 0."""
    if is_ordered:
        return act.looks is not None and act.looks <= number
    judged = stored.looks[number]
    look_ids = [change.look_id for change in stored.transitions]
    if judged.look.look_id in look_ids:
        return stored.transitions.index(act) < look_ids.index(judged.look.look_id)
    return act.at <= _look_time(judged)


def _take_step(step: JudgedLook | Transition, rollout: Rollout) -> Rollout:
    if isinstance(step, JudgedLook):
        return advance(rollout, step.look, _look_time(step))
    act = _ACTS.get(step.state)
    if act is None:
        raise Conflict(f"nobody can make a rollout {step.state} by hand")
    return act(rollout, step.by, step.reason, step.at, step.decision_id)


def _look_time(judged: JudgedLook) -> float:
    return judged.look.at if judged.at is None else judged.at


def _step_name(step: JudgedLook | Transition, stored: Rollout) -> str:
    if isinstance(step, JudgedLook):
        return f"look {stored.looks.index(step) + 1}"
    return f"transition {stored.transitions.index(step) + 1}"


def _compare_in_order(
    kind: str, stored: Sequence[Any], replayed: Sequence[Any], refusal: ReplayDifference | None
) -> tuple[int, ReplayDifference | None]:
    """The number of equal items from the first on, and the first difference.

    Items that are missing because of a refusal are no difference.
    """
    pairs = zip(stored, replayed, strict=False) if refusal else zip_longest(stored, replayed)
    equal = 0
    for stored_item, replayed_item in pairs:
        where = f"{kind} {equal + 1}"
        if stored_item is None or replayed_item is None:
            return equal, ReplayDifference(where, _presence(stored_item), _presence(replayed_item))
        names = [each.name for each in fields(stored_item)]
        difference = _first_difference(where, stored_item, replayed_item, names)
        if difference is not None:
            return equal, difference
        equal += 1
    return equal, None


def _first_difference(where: str, stored: Any, replayed: Any, names: Sequence[str]) -> ReplayDifference | None:
    """The difference of the first field that differs; values are compared as text, so that -0.0 is not 0.0."""
    for name in names:
        stored_text, replayed_text = _exact_text(getattr(stored, name)), _exact_text(getattr(replayed, name))
        is_missing = (type(stored), name) in _NEWER and getattr(stored, name) is None
        if stored_text != replayed_text and not is_missing:
            return ReplayDifference(f"{where}: {name}", stored_text, replayed_text)
    return None


def _exact_text(value: Any) -> str:
    return str(value) if isinstance(value, str) else repr(value)


def _presence(item: Any) -> str:
    return "missing" if item is None else "there"
