"""Plots: Plotly figures as parts of a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:  # it takes a while to load
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot on a page; its `html` needs plotly's script above it on the page."""

    html: Markup
    caption: str = ""


def plot_of(figure: go.Figure, place: int, caption: str = "", toolbar: bool = False) -> Plot:
    """The figure as the plot at `place` on its page, counted from 0."""
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"figure-{place}",
        config={"responsive": True} if toolbar else {"responsive": True, "displayModeBar": False},
    )
    return Plot(Markup(html), caption)  # noqa: S704 - by plotly, with texts that `label_of` escaped


def label_of(text: str) -> str:
    """A text for a figure, escaped since plotly reads tags and entities, and without what UTF-8 cannot encode."""
    return str(escape(text.encode("utf-8", "replace").decode("utf-8")))


def in_page_style(figure: go.Figure, height: int) -> go.Figure:
    """The figure, transparent and in a grey that is legible on white and black; the page sets the colour of texts."""
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "color": "#7b7b7b", "size": 13},
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
    )
    figure.update_xaxes(gridcolor="rgba(136,136,136,.2)", zerolinecolor="rgba(136,136,136,.4)", automargin=True)
    return figure.update_yaxes(gridcolor="rgba(136,136,136,.2)", zerolinecolor="rgba(136,136,136,.4)", automargin=True)
