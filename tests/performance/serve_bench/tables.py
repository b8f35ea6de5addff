"""Plain tables on standard output, each figure beside the one that is asked for."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`met` is None where nothing is asked for."""

    what: str
    measured: str
    asked: str = ""
    met: bool | None = None


def at_least(what: str, measured: float, asked: float) -> Figure:
    return Figure(what, f"{measured:.2f}", f"at least {asked:g}", measured >= asked)


def at_most(what: str, measured: float, asked: float, unit: str = "", told: str = "") -> Figure:
    """`told` stands beside the figure, for how sure it is."""
    unit = f" {unit}" if unit else ""
    said = f"{measured:.3g}{unit}{f' ({told})' if told else ''}"
    return Figure(what, said, f"at most {asked:.3g}{unit}", measured <= asked)


def none(what: str, measured: int, told: str = "") -> Figure:
    return Figure(what, f"{measured:,}{f' ({told})' if told else ''}", "none", measured == 0)


def say(step: str) -> None:
    """What is done now, on standard error: a part takes minutes before it has a table to show."""
    print(f"{step} …", file=sys.stderr, flush=True)


def show_figures(title: str, figures: Sequence[Figure]) -> None:
    said = {None: "", True: "yes", False: "NO"}
    rows = [[figure.what, figure.measured, figure.asked, said[figure.met]] for figure in figures]
    show(title, ["", "measured", "asked for", "met"], rows)


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(end="", flush=True)
