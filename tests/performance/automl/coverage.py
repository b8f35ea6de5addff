"""Choice of starting points by greedy coverage: each next one lowers most the mean over tables of the best loss so far.

Feurer et al. (2022), Auto-sklearn 2.0, section 4.1; Winkelmolen et al. (2020). Across families, whose trials differ in
cost, it is the most for its seconds (Leskovec et al. 2007, section 3.2). Pure. Losses are (tables, candidates)
of one family, whose first candidate is its defaults, which a search tries anyway.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]
Order = list[tuple[str, int]]
"""Family and number of the candidate."""

_TIE = 4  # digits of a mean loss, or of its gain a second, within which the faster candidate wins
_LEAST_S = 0.001


def normalise(losses: Mapping[str, Losses]) -> dict[str, Losses]:
    """Losses of all families on the scale of each table: 0 is the best of all candidates, 1 the median or worse, and
    what was not measured."""
    everything = np.hstack(list(losses.values()))
    best = np.nanmin(everything, axis=1, keepdims=True)
    spread = np.nanmedian(everything, axis=1, keepdims=True) - best
    spread = np.where(spread > 0, spread, np.inf)
    return {
        family: np.nan_to_num(np.minimum((values - best) / spread, 1.0), nan=1.0) for family, values in losses.items()
    }


def choose_points(losses: Mapping[str, Losses], seconds: Mapping[str, Losses], count: int) -> Order:
    """`count` candidates of each family, in one order by the gain a second that each adds over all tables."""
    scaled = normalise(losses)
    cost = {family: np.nanmean(values, axis=0) for family, values in seconds.items()}
    queues = {
        family: choose_in_family(
            normalise({family: values[~np.isnan(values).all(axis=1)]})[family], cost[family], count
        )
        for family, values in losses.items()
    }
    covered = np.min([values[:, 0] for values in scaled.values()], axis=0)
    order: Order = []
    while any(queues.values()):
        heads = [(family, queue[0]) for family, queue in queues.items() if queue]

        def place(head: tuple[str, int], covered: Losses = covered) -> tuple[float, float]:
            seconds = float(cost[head[0]][head[1]])
            gain = float(covered.mean() - np.minimum(covered, scaled[head[0]][:, head[1]]).mean())
            return -round(gain / max(seconds, _LEAST_S), _TIE), seconds

        family, number = min(heads, key=place)
        covered = np.minimum(covered, scaled[family][:, number])
        order.append((family, number))
        queues[family].pop(0)
    return order


def choose_in_family(scaled: Losses, cost: Losses, count: int) -> list[int]:
    """Numbers of `count` candidates of one family, the greedy choice first."""
    covered, left, chosen = scaled[:, 0], list(range(1, scaled.shape[1])), []
    while left and len(chosen) < count:
        after = {number: round(float(np.minimum(covered, scaled[:, number]).mean()), _TIE) for number in left}
        number = min(left, key=lambda number: (after[number], float(cost[number])))
        covered = np.minimum(covered, scaled[:, number])
        chosen.append(number)
        left.remove(number)
    return chosen


def regret(scaled: Mapping[str, Losses], table: int, order: Sequence[tuple[str, int]], asked: int) -> float:
    """The best scaled loss on one table after the defaults of each family and the first `asked` of an order."""
    defaults = [float(values[table, 0]) for values in scaled.values()]
    return min([*defaults, *(float(scaled[family][table, number]) for family, number in order[:asked])])


def regret_in(
    scaled: Mapping[str, Losses],
    seconds: Mapping[str, Losses],
    table: int,
    order: Sequence[tuple[str, int]],
    spent: float,
) -> float:
    """The best scaled loss on one table after the defaults of each family and `spent` seconds of an order."""
    used = np.nancumsum([seconds[family][table, number] for family, number in order])
    return regret(scaled, table, order, int(np.searchsorted(used, spent, side="right")))
