"""Demo report: one page with the metric with and without the agent, and each decision with its evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from live import Answered, log_loss

from optagent.adapters.pages.page import sections_page
from optagent.adapters.pages.plot import Plot, in_page_style, plot_of
from optagent.agent.page_file import write_page
from optagent.analysis.report.parts import Section, Table
from optagent.domain.process import Process
from optagent.domain.rollout import Rollout

_ROWS = 250  # in the mean of a point: 50 trading days


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened: `seconds` into the demo, on a `day` of the market."""

    seconds: float
    day: Any
    kind: str
    text: str
    evidence: str = ""


def write_report(
    path: Path,
    answered: Answered,
    frozen: Sequence[float],
    moments: Sequence[Moment],
    processes: Sequence[Process],
    rollouts: Sequence[Rollout],
) -> Path:
    """Writes the page, which needs nothing from the network."""
    count = f"{len(answered.truth):,} predictions over HTTP, 2004 on."
    lead = f"{count} Without the agent the first champion answers all of them."
    sections = [_years(answered, frozen), _moments(moments), *_gates(processes), _rollouts(rollouts)]
    page = sections_page(
        "A model of market turbulence, kept good by nobody", lead, [_plot(answered, frozen, moments)], sections
    )
    return write_page(page, path)


def _plot(answered: Answered, frozen: Sequence[float], moments: Sequence[Moment]) -> Plot:
    frame = pd.DataFrame({"day": answered.day, "y": answered.truth, "live": answered.live, "frozen": list(frozen)})
    for name in ("live", "frozen"):
        p = np.clip(frame[name], 1e-6, 1 - 1e-6)
        frame[name] = -(frame["y"] * np.log(p) + (1 - frame["y"]) * np.log1p(-p))
    smooth = frame[["live", "frozen"]].rolling(_ROWS, min_periods=_ROWS // 2).mean()
    figure = go.Figure()
    figure.add_scatter(x=frame["day"], y=smooth["frozen"], name="without the agent", line={"color": "#999"})
    figure.add_scatter(x=frame["day"], y=smooth["live"], name="with the agent", line={"color": "#2266cc"})
    for moment in moments:
        if moment.day is not None and moment.kind in ("rollout", "alert", "policy"):
            colour = {"rollout": "#3c9a5f", "alert": "#d6453d", "policy": "#d69d3d"}[moment.kind]
            figure.add_vline(x=moment.day, line={"color": colour, "width": 1, "dash": "dot"}, opacity=0.6)
    figure.update_layout(yaxis_title=f"log-loss, mean of {_ROWS} predictions")
    return plot_of(in_page_style(figure, 420), 0, toolbar=True)


def _years(answered: Answered, frozen: Sequence[float]) -> Section:
    years = np.array([day.year for day in answered.day])
    rows = []
    for year in sorted(set(years.tolist())):
        at = np.flatnonzero(years == year)
        truth, live = np.array(answered.truth)[at], np.array(answered.live)[at]
        without, with_agent = log_loss(truth, np.array(frozen)[at]), log_loss(truth, live)
        versions = ", ".join(dict.fromkeys(np.array(answered.version)[at].tolist()))
        rows.append((str(year), str(len(at)), f"{truth.mean():.2f}", f"{without:.4f}", f"{with_agent:.4f}", versions))
    return _section(
        "Log-loss by year", ("year", "rows", "turbulent", "without", "with the agent", "versions that answered"), rows
    )


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


def _rollouts(rollouts: Sequence[Rollout]) -> Section:
    rows = [
        (rollout.rollout_id, f"{rollout.champion} to {rollout.candidate}", str(change.state), change.reason, change.by)
        for rollout in reversed(rollouts)
        for change in rollout.transitions
    ]
    return _section("Rollouts", ("rollout", "versions", "state", "why", "by"), rows)


def _section(title: str, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Section:
    """A table under a title."""
    return Section(title, parts=(Table(headings, tuple(rows)),)) if rows else Section(title, "none")
