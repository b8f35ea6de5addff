"""Rollout commands: start, show, promote, abort and roll back rollouts."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from optagent import terminal
from optagent.cli.app import OUT, AsJson, RegisteredModel, group, print_json, with_agent
from optagent.codec import plain
from optagent.domain.instant import time_text
from optagent.errors import InvalidRequest

if TYPE_CHECKING:
    from optagent.agent import OptimizationAgent
    from optagent.domain.rollout import Rollout

rollouts = group("rollout", "Let a candidate compete with the champion on live requests.")

Why = Annotated[str, typer.Option("--why", help="The reason, for the record.")]
_LOOKS_SHOWN = 5


@rollouts.command()
def start(
    model: RegisteredModel,
    candidate: Annotated[str, typer.Option(help="A version, or an alias.")] = "challenger",
    strategy: Annotated[str, typer.Option(help="conservative, balanced or aggressive.")] = "balanced",
    policy: Annotated[
        list[str] | None,
        typer.Option(help="A field of the policy that is to be other than the strategy's: NAME=VALUE."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start a rollout: in shadow first, then on a growing share of the requests."""
    changes = dict(_parse_change(item) for item in policy or ())
    _act(lambda agent: agent.start_rollout(model, candidate, strategy, changes), as_json)


@rollouts.command()
def status(model: RegisteredModel, as_json: AsJson = False) -> None:
    """Show the model's latest rollout, and what its looks have found."""
    _act(lambda agent: agent.latest_rollout(model), as_json)


@rollouts.command()
def promote(model: RegisteredModel, why: Why = "by hand", as_json: AsJson = False) -> None:
    """Put the candidate in the champion's place, to be watched; while it is watched, end that."""
    _act(lambda agent: agent.promote_rollout(model, why=why), as_json)


@rollouts.command()
def abort(model: RegisteredModel, why: Why = "by hand", as_json: AsJson = False) -> None:
    """Give all requests to the champion again."""
    _act(lambda agent: agent.abort_rollout(model, why=why), as_json)


@rollouts.command()
def rollback(model: RegisteredModel, why: Why = "by hand", as_json: AsJson = False) -> None:
    """Put the champion of before in its place again."""
    _act(lambda agent: agent.rollback_rollout(model, why=why), as_json)


@rollouts.command("list")
def list_(
    model: Annotated[str | None, typer.Argument(help="Only those of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List rollouts, the newest first."""
    all_rollouts: list[Rollout] = with_agent(lambda agent: agent.rollouts(model, limit))
    if as_json:
        return print_json([plain(rollout) for rollout in all_rollouts])
    terminal.show_table(
        OUT,
        ["rollout", "model", "champion", "candidate", "state", "step", "looks", "started", "because"],
        [
            [
                rollout.rollout_id,
                rollout.model_id,
                rollout.champion,
                rollout.candidate,
                str(rollout.state),
                str(rollout.step),
                str(len(rollout.looks)),
                time_text(rollout.started_at),
                rollout.transitions[-1].reason if rollout.transitions else "",
            ]
            for rollout in all_rollouts
        ],
    )


def _act(verb: Callable[["OptimizationAgent"], Awaitable["Rollout"]], as_json: bool) -> None:
    rollout: Rollout = with_agent(verb)
    print_json(plain(rollout)) if as_json else _show(rollout)


def _show(rollout: "Rollout") -> None:
    summary = f"{rollout.rollout_id}: version {rollout.candidate} against {rollout.champion} of {rollout.model_id}"
    OUT.print(f"{summary} is [bold]{rollout.state}[/bold]", highlight=False)
    rows = [
        [time_text(change.at), str(change.state), str(change.step), change.by, change.reason]
        for change in rollout.transitions
    ]
    terminal.show_table(OUT, ["time", "state", "step", "by", "because"], rows)
    for look in rollout.looks[-_LOOKS_SHOWN:]:
        OUT.print(f"{look.verdict}: {look.reason}", highlight=False)


def _parse_change(item: str) -> tuple[str, Any]:
    name, equals, value = item.partition("=")
    if not name or not equals:
        raise InvalidRequest(f"--policy {item!r}: write NAME=VALUE")
    return name, yaml.safe_load(value)
