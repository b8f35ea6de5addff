"""Rollout outcomes: the end of a replayed optimization, as its rollout tells when the replay is over."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optagent.domain.policy_run import ReplayedRun
from optagent.domain.rollout import Rollout
from optagent.domain.rollout_look import RolloutState


def after_rollout(run: ReplayedRun, rollout: Rollout) -> ReplayedRun:
    """The run with the version that competed, the state that its rollout is in, and why it is no champion."""
    promoted = rollout.state is RolloutState.PROMOTED
    return replace(
        run,
        version=rollout.candidate,
        promoted=promoted,
        rollout=str(rollout.state),
        promoted_at=_time_of_promotion(rollout) if promoted else None,
        said=None if promoted else _reason_of_state(rollout),
    )


def reason_without_rollout(result: Mapping[str, Any]) -> str | None:
    """The note of an optimization that started no rollout, though its candidate passed; None without such a note."""
    return next((note for note in result.get("notes") or () if str(note).startswith("no rollout")), None)


def _time_of_promotion(rollout: Rollout) -> float:
    """The time at which the candidate took the champion's place: the beginning of its baking."""
    return next(change.at for change in rollout.transitions if change.state is RolloutState.BAKING)


def _reason_of_state(rollout: Rollout) -> str:
    if rollout.state.is_active and rollout.looks:
        return f"{rollout.state}: {rollout.looks[-1].reason}"
    return f"{rollout.state}: {rollout.transitions[-1].reason}"
