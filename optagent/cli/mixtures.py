"""Mixture command: shows the versions that answer together, and holds, frees or mends their weights by hand."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from optagent.cli.app import OUT, AsJson, RegisteredModel, app, print_json, with_agent
from optagent.codec import plain
from optagent.errors import InvalidRequest

if TYPE_CHECKING:
    from optagent.agent import OptimizationAgent
    from optagent.domain.mixture_status import MixtureStatus

Verb = Callable[["OptimizationAgent"], Awaitable["MixtureStatus"]]


@app.command()
def mixture(
    model: RegisteredModel,
    freeze: Annotated[bool, typer.Option("--freeze", help="Leave the weights as they are.")] = False,
    thaw: Annotated[bool, typer.Option("--thaw", help="Let the weights follow the labels again.")] = False,
    champion_only: Annotated[
        bool, typer.Option("--champion-only", help="Let the champion answer alone, at once, until --thaw.")
    ] = False,
    forget: Annotated[
        str | None,
        typer.Option(metavar="START..END", help="Make the weights again without these rows, for good."),
    ] = None,
    why: Annotated[str, typer.Option("--why", help="The reason of an act, for the record.")] = "by hand",
    as_json: AsJson = False,
) -> None:
    """Show a model's mixture: its weights, the loss of each slot, and the certificate that bounds that of the answers.

    At most one of the acts can be asked for; the mixture is shown as it is after it.
    """
    acts: dict[str, Verb] = {}
    if freeze:
        acts["--freeze"] = lambda agent: agent.freeze_mixture(model, why=why)
    if thaw:
        acts["--thaw"] = lambda agent: agent.thaw_mixture(model, why=why)
    if champion_only:
        acts["--champion-only"] = lambda agent: agent.use_champion_only(model, why=why)
    if forget is not None:
        acts["--forget"] = lambda agent: agent.forget_mixture_rows(model, forget, why=why)
    if len(acts) > 1:
        raise InvalidRequest(f"one act at a time, got {' and '.join(acts)}")
    from optagent import terminal_mixture

    status: MixtureStatus = with_agent(next(iter(acts.values()), lambda agent: agent.mixture(model)))
    print_json(plain(status)) if as_json else terminal_mixture.show_mixture(OUT, status)
