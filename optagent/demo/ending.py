"""Ending of a demo: its figures, as a result to print and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from optagent.demo.report import Compared
from optagent.demo.timeline import trained_models
from optagent.domain.answer import Answer
from optagent.domain.audit_chain import ChainReport
from optagent.domain.mixture_status import MixtureStatus
from optagent.domain.process import Process


@dataclass(frozen=True)
class DemoResult(Answer):
    """The figures of a demo; losses are mean log-losses of all live days, in nats a row.

    `log_loss_without` is that of the first champion, `log_loss_of_calendar` that of the best calendar in hindsight,
    None where none was tried. `slots` are the versions that answer at the end, by slot. `audit_broken` is the reason
    why the audit log is not whole, None where it is.
    """

    seconds: float
    predictions: int
    failed_requests: int
    optimizations: int
    models_trained: int
    log_loss: float
    log_loss_without: float
    log_loss_of_calendar: float | None
    calendar: str | None
    slots: Mapping[str, str]
    certificate: str
    audit_links: int
    audit_broken: str | None
    report: str
    home: str


def demo_result(
    seconds: float,
    compared: Compared,
    processes: Sequence[Process],
    mixture: MixtureStatus,
    chain: ChainReport,
    paths: tuple[Path, Path],
) -> DemoResult:
    """The figures; `paths` are those of the report and of the demo's folder."""
    calendar = compared.calendar
    return DemoResult(
        seconds=round(seconds, 1),
        predictions=len(compared.answered.truth),
        failed_requests=compared.answered.failed,
        optimizations=len(processes),
        models_trained=trained_models(processes),
        log_loss=compared.loss,
        log_loss_without=compared.loss_without,
        log_loss_of_calendar=compared.loss_of_calendar,
        calendar=None if calendar is None else calendar.name,
        slots={slot.name: slot.version for slot in mixture.slots},
        certificate=mixture.certificate.words,
        audit_links=chain.links,
        audit_broken=None if chain.broken is None else str(chain.broken),
        report=str(paths[0].absolute()),
        home=str(paths[1]),
    )


def show_demo_result(console: Console, result: DemoResult, model_id: str) -> None:
    """Prints the figures, the report's path, and commands that look further."""
    state = "whole" if result.audit_broken is None else f"broken: {result.audit_broken}"
    without = result.log_loss_without
    losses = [("with the agent", result.log_loss)]
    if result.log_loss_of_calendar is not None:
        losses.insert(0, (f"by the best calendar in hindsight, {result.calendar}", result.log_loss_of_calendar))
    lines = [
        f"\n{result.predictions:,} predictions over HTTP, {result.failed_requests} requests failed; "
        f"{result.optimizations} optimizations, {result.models_trained} models trained",
        f"log-loss, all live days: {without:.4f} without the agent",
        *(f"  {loss:.4f} {name} ({100 * (loss - without) / without:+.1f} %)" for name, loss in losses),
        result.certificate,
        f"audit: {result.audit_links} links, {state}",
        f"report: {result.report}",
        f"look further: OPT_AGENT_HOME={result.home} optagent mixture {model_id} | audit list",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
