"""The fleet on the command line: a line a model, with its health and its metric over time."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from optagent.domain.fleet import Answerer, Fleet, ModelStanding
from optagent.domain.instant import time_text
from optagent.domain.quality_point import QualityPoint
from optagent.secret_text import hide_secrets

_STYLES = {"critical": "bold red", "warning": "yellow", "unknown": "dim", "good": "green"}
_HEADINGS = ("model", "health", "answers", "metric", "over time", "drift", "process", "why")
_BARS = "▁▂▃▄▅▆▇█"
_BARS_SHOWN = 20


def show_fleet(console: Console, fleet: Fleet) -> None:
    """Prints the page of a fleet."""
    console.print(draw_fleet(fleet))


def draw_fleet(fleet: Fleet) -> RenderableType:
    """The page of a fleet as a table below the counts of all models by health."""
    counts = Text(f"{time_text(fleet.at)}  ")
    for health, count in fleet.counts.items():
        counts.append(f"{count} {health}  ", _STYLES[health] if count else "dim")
    table = Table()
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold", no_wrap=heading in ("health", "over time"))
    for standing in fleet.models:
        table.add_row(*_cells(standing))
    hidden = fleet.of - len(fleet.models)
    return Group(
        counts, table, *([Text(f"and {hidden:,} more: words narrow it down, --limit shows more")] * (hidden > 0))
    )


def draw_bars(points: Sequence[QualityPoint]) -> str:
    """The realised metric of the newest windows, or else the estimated one, as bars from its least to its most."""
    realised = [point.realised.estimate for point in points if point.realised is not None]
    values = (realised or [point.estimated.estimate for point in points if point.estimated is not None])[-_BARS_SHOWN:]
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    return "".join(_BARS[round((len(_BARS) - 1) * (value - low) / ((high - low) or 1))] for value in values)


def _cells(standing: ModelStanding) -> list[Text]:
    latest, process = standing.latest, standing.process
    texts = [
        standing.model_id,
        str(standing.health),
        _answer_text(standing),
        _metric_text(latest),
        draw_bars(standing.points),
        "" if latest is None or latest.drift is None else f"{latest.drift:.2f}",
        "" if process is None else f"{process.kind} {process.outcome or process.stage or process.status}",
        standing.reason,
    ]
    cells = [Text(hide_secrets(text)) for text in texts]
    cells[1].stylize(_STYLES[standing.health])
    return cells


def _answer_text(standing: ModelStanding) -> str:
    if standing.answerer is Answerer.MIXTURE:
        return f"mixture of {len(standing.slots)}"
    if standing.answerer is Answerer.ROLLOUT:
        return f"{standing.champion}, {standing.rollout_state}"
    return standing.champion or str(standing.answerer)


def _metric_text(point: QualityPoint | None) -> str:
    if point is None:
        return ""
    if point.realised is not None:
        interval = point.realised
        return f"{point.metric} {interval.estimate:.4g} ({interval.low:.3g} to {interval.high:.3g})"
    return "" if point.estimated is None else f"{point.metric} some {point.estimated.estimate:.3g}"
