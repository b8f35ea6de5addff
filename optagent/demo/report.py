"""Demo report: one page with the metric with and without the agent, and each decision with its evidence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from optagent.adapters.pages.page import sections_page
from optagent.adapters.pages.plot import Plot, in_page_style, plot_of
from optagent.analysis.report.parts import Section, Table
from optagent.demo.board import ROWS_OF_A_POINT, WITH, WITHOUT, rolling_loss
from optagent.demo.calendars import CalendarAnswers
from optagent.demo.live import Answered, log_loss
from optagent.demo.timeline import Moment
from optagent.domain.mixture_status import MixtureStatus
from optagent.domain.process import Process

CALENDAR = "best calendar in hindsight"
_COLOURS = {WITHOUT: "#999", CALENDAR: "#d69d3d", WITH: "#2266cc"}


@dataclass(frozen=True, slots=True)
class Compared:
    """The live answers beside those of the frozen champion and of the best calendar in hindsight, None if not tried."""

    answered: Answered
    frozen: Sequence[float]
    calendar: CalendarAnswers | None = None

    @property
    def loss(self) -> float:
        return log_loss(self.answered.truth, self.answered.live)

    @property
    def loss_without(self) -> float:
        return log_loss(self.answered.truth, self.frozen)

    @property
    def loss_of_calendar(self) -> float | None:
        return None if self.calendar is None else log_loss(self.answered.truth, self.calendar.probability)

    @property
    def probabilities(self) -> dict[str, Sequence[float]]:
        """The answers by the name of who gave them, the live ones last."""
        calendar = {} if self.calendar is None else {CALENDAR: self.calendar.probability}
        return {WITHOUT: self.frozen, **calendar, WITH: self.answered.live}


def demo_page(
    compared: Compared, moments: Sequence[Moment], processes: Sequence[Process], mixture: MixtureStatus
) -> str:
    """The page as text, which needs nothing from the network."""
    answered = compared.answered
    first = f"{answered.day[0]:%Y-%m-%d} on" if answered.day else "no day"
    count = f"{len(answered.truth):,} predictions over HTTP, {first}."
    lead = f"{count} Without the agent the first champion answers all of them. {mixture.certificate.words}"
    sections = [_years(compared), _slots(mixture), _moments(moments), *_gates(processes)]
    plots = [_losses(compared), _weights(mixture, 1)]
    return sections_page("A model of market turbulence, kept good by nobody", lead, plots, sections)


def _losses(compared: Compared) -> Plot:
    answered, figure = compared.answered, go.Figure()
    for name, probability in compared.probabilities.items():
        smooth = rolling_loss(answered.truth, probability)
        title = f"{name}: {compared.calendar.name}" if name == CALENDAR and compared.calendar else name
        figure.add_scatter(x=answered.day, y=smooth, name=title, line={"color": _COLOURS[name]})
    figure.update_layout(yaxis_title=f"log-loss, mean of {ROWS_OF_A_POINT} predictions")
    return plot_of(in_page_style(figure, 420), 0, toolbar=True)


def _weights(mixture: MixtureStatus, number: int) -> Plot:
    """The slots' parts of the answers over the labelled rows, stacked."""
    figure = go.Figure()
    for slot in mixture.slots:
        points = [point for point in mixture.history if slot.name in point.slots]
        parts = [point.weights[point.slots.index(slot.name)] for point in points]
        figure.add_scatter(x=[point.rows for point in points], y=parts, name=slot.name, stackgroup="weights")
    figure.update_layout(yaxis_title="part of the answers", xaxis_title="labelled rows")
    return plot_of(in_page_style(figure, 300), number, toolbar=True)


def _years(compared: Compared) -> Section:
    answered = compared.answered
    years, truth = np.array([day.year for day in answered.day]), np.array(answered.truth)
    rows = []
    for year in sorted(set(years.tolist())):
        at = np.flatnonzero(years == year)
        losses = [
            f"{log_loss(truth[at], np.array(probability)[at]):.4f}" for probability in compared.probabilities.values()
        ]
        rows.append((str(year), str(len(at)), f"{truth[at].mean():.2f}", *losses))
    headings = ("year", "rows", "turbulent", *compared.probabilities)
    return _section("Log-loss by year", headings, rows)


def _slots(mixture: MixtureStatus) -> Section:
    rows = [
        (slot.name, slot.version, f"{slot.weight:.0%}", f"{slot.loss or 0:.4f}", f"{slot.ahead:+.1f}")
        for slot in mixture.slots
    ]
    headings = ("slot", "version", "part of the answers", "nats a row, alone", "nats that the mixture is ahead of it")
    return _section("Slots of the mixture", headings, rows)


def _moments(moments: Sequence[Moment]) -> Section:
    rows = [
        (f"{moment.seconds:.0f}", f"{moment.day:%Y-%m-%d}" if moment.day is not None else "", moment.kind, moment.text)
        for moment in moments
    ]
    return _section("What happened", ("second", "day", "what", ""), rows)


def _gates(processes: Sequence[Process]) -> list[Section]:
    """A section for each optimization: the reason for its end, and its gates."""
    sections = []
    for process in reversed(processes):
        result = process.result or {}
        title = f"Optimization {process.process_id}: {process.command.get('trigger')}"
        status, reason = str(result.get("status", process.status)), result.get("error_message") or process.error or ""
        rows = tuple((gate["name"], gate["verdict"], gate["reason"]) for gate in result.get("gates", ()))
        gates = (Table(("gate", "verdict", "why"), rows),) if rows else ()
        sections.append(Section(title, status, str(reason), gates))
    return sections or [Section("Optimizations", "none")]


def _section(title: str, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Section:
    """A table under a title."""
    return Section(title, parts=(Table(headings, tuple(rows)),)) if rows else Section(title, "none")
