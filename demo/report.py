"""The demo's one page: the metric with and without the agent, and each decision with its evidence."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from live import Answered, log_loss

from optagent.domain.process import Process
from optagent.domain.rollout import Rollout

_ROWS = 250  # of a point: 50 trading days

_PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>optagent: a model kept good</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem; }}
table {{ border-collapse: collapse; font-size: .9rem; }} td, th {{ text-align: left; vertical-align: top;
padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #8886; }} h2 {{ margin-top: 2rem; }}</style></head>
<body><h1>A model of market turbulence, kept good by nobody</h1>
<p>{rows:,} predictions over HTTP, 2004 on. Without the agent the first champion answers all of them.</p>
{plot}<h2>Log-loss by year</h2>{years}<h2>What happened</h2>{moments}<h2>Optimizations and their gates</h2>{gates}
<h2>Rollouts</h2>{rollouts}</body></html>
"""


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
    found: Answered,
    frozen: Sequence[float],
    moments: Sequence[Moment],
    processes: Sequence[Process],
    rollouts: Sequence[Rollout],
) -> Path:
    """Writes the page, which needs nothing from the network."""
    page = _PAGE.format(
        rows=len(found.truth),
        plot=_plot(found, frozen, moments),
        years=_years(found, frozen),
        moments=_table(
            ["second", "day", "what", ""],
            [
                [f"{one.seconds:.0f}", f"{one.day:%Y-%m-%d}" if one.day is not None else "", one.kind, one.text]
                for one in moments
            ],
        ),
        gates=_gates(processes),
        rollouts=_rollouts(rollouts),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _plot(found: Answered, frozen: Sequence[float], moments: Sequence[Moment]) -> str:
    frame = pd.DataFrame({"day": found.day, "y": found.truth, "live": found.live, "frozen": list(frozen)})
    for name in ("live", "frozen"):
        p = np.clip(frame[name], 1e-6, 1 - 1e-6)
        frame[name] = -(frame["y"] * np.log(p) + (1 - frame["y"]) * np.log1p(-p))
    smooth = frame[["live", "frozen"]].rolling(_ROWS, min_periods=_ROWS // 2).mean()
    figure = go.Figure()
    figure.add_scatter(x=frame["day"], y=smooth["frozen"], name="without the agent", line={"color": "#999"})
    figure.add_scatter(x=frame["day"], y=smooth["live"], name="with the agent", line={"color": "#2266cc"})
    for one in moments:
        if one.day is not None and one.kind in ("rollout", "alert", "policy"):
            colour = {"rollout": "#3c9a5f", "alert": "#d6453d", "policy": "#d69d3d"}[one.kind]
            figure.add_vline(x=one.day, line={"color": colour, "width": 1, "dash": "dot"}, opacity=0.6)
    figure.update_layout(
        yaxis_title=f"log-loss, mean of {_ROWS} predictions", template="plotly_white", height=420, margin={"t": 20}
    )
    return str(figure.to_html(full_html=False, include_plotlyjs="inline"))


def _years(found: Answered, frozen: Sequence[float]) -> str:
    years = np.array([day.year for day in found.day])
    rows = []
    for year in sorted(set(years.tolist())):
        at = np.flatnonzero(years == year)
        truth, live = np.array(found.truth)[at], np.array(found.live)[at]
        without, with_agent = log_loss(truth, np.array(frozen)[at]), log_loss(truth, live)
        versions = ", ".join(dict.fromkeys(np.array(found.version)[at].tolist()))
        rows.append([str(year), str(len(at)), f"{truth.mean():.2f}", f"{without:.4f}", f"{with_agent:.4f}", versions])
    return _table(["year", "rows", "turbulent", "without", "with the agent", "versions that answered"], rows)


def _gates(processes: Sequence[Process]) -> str:
    parts = []
    for process in reversed(processes):
        result = process.result or {}
        head = f"{process.process_id}: {process.command.get('trigger')}, {result.get('status', process.status)}"
        why = result.get("error_message") or process.error or ""
        rows = [[gate["name"], gate["verdict"], gate["reason"]] for gate in result.get("gates", ())]
        table = _table(["gate", "verdict", "why"], rows) if rows else ""
        parts.append(f"<h3>{html.escape(head)}</h3><p>{html.escape(str(why))}</p>{table}")
    return "".join(parts) or "<p>none</p>"


def _rollouts(rollouts: Sequence[Rollout]) -> str:
    rows = [
        [rollout.rollout_id, f"{rollout.champion} to {rollout.candidate}", str(change.state), change.reason, change.by]
        for rollout in reversed(rollouts)
        for change in rollout.transitions
    ]
    return _table(["rollout", "versions", "state", "why", "by"], rows) if rows else "<p>none</p>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
