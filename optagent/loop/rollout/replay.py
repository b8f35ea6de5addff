"""Replay: a stored rollout is decided once more, from its looks and what people did; it has to come out the same."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any

from optagent.domain.rollout import Rollout, Transition, abort, advance, begin, promote, rollback
from optagent.domain.rollout_look import JudgedLook, RolloutState
from optagent.errors import Conflict, InvalidRequest

_ACTS: dict[RolloutState, Callable[[Rollout, str, str, float], Rollout]] = {
    RolloutState.BAKING: promote,
    RolloutState.PROMOTED: promote,
    RolloutState.ABORTED: abort,
    RolloutState.ROLLED_BACK: rollback,
}
_OUTCOME = ("state", "step", "changed_at")
_NEWER = {(Transition, "looks"), (JudgedLook, "at")}  # older versions did not write them


@dataclass(frozen=True, slots=True)
class ReplayDifference:
    """What is stored otherwise than it is decided: which field of what, as stored, and as replayed.

    `where` is such as `transition 2: reason`, counted from 1.
    """

    where: str
    stored: str
    replayed: str

    def __str__(self) -> str:
        return f"{self.where}: stored is {self.stored}, replayed {self.replayed}"


@dataclass(frozen=True, slots=True)
class RolloutReplay:
    """How many stored looks and transitions come out the same, bit for bit, and what is the first that does not.

    `is_ordered` tells whether the rollout keeps in which order looks and people's acts came; of what older versions
    wrote it is taken from the times.
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

    People's acts are the transitions without a look: they are done again at their times, where the rules let them.
    """
    is_ordered = all(change.looks is not None for change in rollout.transitions)
    replayed, refused = _again(rollout, is_ordered)
    looks, unlike_look = _compared("look", rollout.looks, replayed.looks, refused)
    changes, unlike_change = _compared("transition", rollout.transitions, replayed.transitions, refused)
    came_at = replayed.transitions[changes].looks if changes < len(replayed.transitions) else None
    look_first = unlike_change is None or looks < (math.inf if came_at is None else came_at)
    found = (unlike_look or unlike_change) if look_first else (unlike_change or unlike_look)
    found = found or refused or _unlike("rollout", rollout, replayed, _OUTCOME)
    return RolloutReplay(rollout.rollout_id, looks, changes, is_ordered, found)


def _again(stored: Rollout, is_ordered: bool) -> tuple[Rollout, ReplayDifference | None]:
    """The rollout decided again, as far as the rules let it, and where they did not."""
    who = stored.transitions[0].by if stored.transitions else ""
    replayed = begin(
        stored.rollout_id, stored.model_id, stored.champion, stored.candidate, stored.policy, stored.started_at, who
    )
    for step in _steps(stored, is_ordered):
        try:
            replayed = _taken(step, replayed)
        except (Conflict, InvalidRequest) as error:
            return replayed, ReplayDifference(_named(step, stored), "taken", f"refused: {error}")
    return replayed, None


def _steps(stored: Rollout, is_ordered: bool) -> Iterator[JudgedLook | Transition]:
    """Looks and people's acts, in the order in which they came."""
    acts = [change for change in stored.transitions[1:] if change.look_id is None]
    for number, judged in enumerate(stored.looks):
        while acts and _came_before(acts[0], number, stored, is_ordered):
            yield acts.pop(0)
        yield judged
    yield from acts


def _came_before(act: Transition, number: int, stored: Rollout, is_ordered: bool) -> bool:
    """Whether an act came before the look of that number, counted from 0."""
    if is_ordered:
        return act.looks is not None and act.looks <= number
    judged = stored.looks[number]
    moved = [change.look_id for change in stored.transitions]
    if judged.look.look_id in moved:
        return stored.transitions.index(act) < moved.index(judged.look.look_id)
    return act.at <= _at(judged)


def _taken(step: JudgedLook | Transition, rollout: Rollout) -> Rollout:
    if isinstance(step, JudgedLook):
        return advance(rollout, step.look, _at(step))
    act = _ACTS.get(step.state)
    if act is None:
        raise Conflict(f"nobody can make a rollout {step.state} by hand")
    return act(rollout, step.by, step.reason, step.at)


def _at(judged: JudgedLook) -> float:
    return judged.look.at if judged.at is None else judged.at


def _named(step: JudgedLook | Transition, stored: Rollout) -> str:
    if isinstance(step, JudgedLook):
        return f"look {stored.looks.index(step) + 1}"
    return f"transition {stored.transitions.index(step) + 1}"


def _compared(
    kind: str, stored: Sequence[Any], replayed: Sequence[Any], refused: ReplayDifference | None
) -> tuple[int, ReplayDifference | None]:
    """How many are alike from the first on, and the first difference; what comes after a refusal is none."""
    pairs = zip(stored, replayed, strict=False) if refused else zip_longest(stored, replayed)
    alike = 0
    for kept, made in pairs:
        where = f"{kind} {alike + 1}"
        if kept is None or made is None:
            return alike, ReplayDifference(where, _presence(kept), _presence(made))
        difference = _unlike(where, kept, made, [each.name for each in fields(kept)])
        if difference is not None:
            return alike, difference
        alike += 1
    return alike, None


def _unlike(where: str, stored: Any, replayed: Any, names: Sequence[str]) -> ReplayDifference | None:
    """The first of the fields that differs; by what is written of it, so that -0.0 is not 0.0."""
    for name in names:
        kept, made = _written(getattr(stored, name)), _written(getattr(replayed, name))
        unwritten = (type(stored), name) in _NEWER and getattr(stored, name) is None
        if kept != made and not unwritten:
            return ReplayDifference(f"{where}: {name}", kept, made)
    return None


def _written(value: Any) -> str:
    return str(value) if isinstance(value, str) else repr(value)


def _presence(found: Any) -> str:
    return "missing" if found is None else "there"
