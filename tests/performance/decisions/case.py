"""Case: one row of the table of decisions, which measures an error rate or the power of a procedure on a stream."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table, to be run alone by its name.

    `measure` takes the number of runs and gives the figure; its seeds are fixed. `asked` is the bound in words that the
    figure has to keep, `unit` what it counts, and `before` the figure of the version before this table, where one is
    known.
    """

    name: str
    decision: str
    stream: str
    unit: str
    asked: str
    runs: int
    measure: Callable[[int], float]
    before: str = ""
