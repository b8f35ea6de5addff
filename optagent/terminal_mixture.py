"""A model's mixture on the command line: its slots, the certificate, and the weights over time."""

from collections.abc import Sequence

from rich.console import Console

from optagent.domain.instant import time_text
from optagent.domain.mixture import MixtureMode, MixturePoint
from optagent.domain.mixture_status import MODE_WORDS, MixtureStatus, SlotStanding, spread_points
from optagent.secret_text import hide_secrets
from optagent.terminal import show_table

_POINTS_SHOWN = 8


def show_mixture(console: Console, status: MixtureStatus) -> None:
    """Prints who answers with what part, the loss of each slot, the certificate, and the weights over time."""
    for line in mixture_lines(status):
        _say(console, line)
    headings = ["slot", "weight", "version", "rows", "loss a row", "nats ahead"]
    show_table(console, headings, [_slot_row(slot) for slot in status.slots])
    _say(console, status.certificate.words)
    if not status.certificate.holds:
        _say(console, "The answers are further behind than the bound allows: this is a fault, please report it.")
    history = spread_points(status.history, _POINTS_SHOWN)
    if history:
        names = [slot.name for slot in status.slots]
        _say(console, "weights over time, in %:")
        show_table(console, ["time", "rows", *names], [_point_row(point, names) for point in history])


def mixture_lines(status: MixtureStatus) -> list[str]:
    """The mode of a mixture with its reason, and what it has learned from, as sentences."""
    reason = f" ({status.reason})" if status.reason else ""
    learned = "no labelled rows yet"
    if status.loss is not None:
        learned = f"learned from {status.rows:,} rows, {status.loss:.4f} nats a row"
    mode = (
        f"the mixture of {status.model_id} is {status.mode.replace('_', ' ')}: {MODE_WORDS[MixtureMode(status.mode)]}"
    )
    lines = [f"{mode}{reason}", f"{learned}, since {time_text(status.began_at)}"]
    if status.published_at:
        lines.append(f"these weights answer since {time_text(status.published_at)}, digest {status.digest[:12]}")
    if status.guard:
        lines.append(f"while labels are waited for, the champion has at least {status.guard:.1%} of the answer")
    lines += [f"without the rows from {time_text(start)} to {time_text(end)}" for start, end in status.forgotten]
    return lines


def _slot_row(slot: SlotStanding) -> list[str]:
    loss = "–" if slot.loss is None else f"{slot.loss:.5f}"
    return [slot.name, f"{slot.weight:.1%}", slot.version or "–", f"{slot.rows:,}", loss, f"{slot.ahead:+,.1f}"]


def _point_row(point: MixturePoint, names: Sequence[str]) -> list[str]:
    weights = dict(zip(point.slots, point.weights, strict=True))
    return [time_text(point.at), f"{point.rows:,}", *(f"{100 * weights.get(name, 0.0):.0f}" for name in names)]


def _say(console: Console, text: str) -> None:
    console.print(hide_secrets(text), highlight=False, markup=False, soft_wrap=True)
