"""Choice of starting points by greedy coverage: each next one lowers most the mean over tables of the best loss so far.

Feurer et al. (2022), Auto-sklearn 2.0, section 4.1; Winkelmolen et al. (2020). Pure. Losses are (tables, candidates)
of one family, whose first candidate is its defaults, which a search tries anyway.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]
Order = list[tuple[str, int]]
"""Family and number of the candidate."""

_TIE = 4  # digits of a mean loss within which candidates are equal, and the faster one wins


def normalise(losses: Mapping[str, Losses]) -> dict[str, Losses]:
    """Losses of all families on the scale of each table: 0 is the best of all candidates, 1 the median or worse."""
    everything = np.hstack(list(losses.values()))
    best = everything.min(axis=1, keepdims=True)
    spread = np.median(everything, axis=1, keepdims=True) - best
    spread = np.where(spread > 0, spread, np.inf)
    return {
        family: np.nan_to_num(np.minimum((values - best) / spread, 1.0), nan=1.0) for family, values in losses.items()
    }


def choose_points(losses: Mapping[str, Losses], seconds: Mapping[str, Losses], count: int) -> Order:
    """`count` candidates of each family, in one order that covers tables by families too."""
    scaled = normalise(losses)
    cost = {family: values.mean(axis=0) for family, values in seconds.items()}
    queues = {
        family: choose_in_family(normalise({family: losses[family]})[family], cost[family], count) for family in losses
    }
    covered = np.min([values[:, 0] for values in scaled.values()], axis=0)
    order: Order = []
    while any(queues.values()):
        heads = [(family, queue[0]) for family, queue in queues.items() if queue]
        family, number = min(
            heads,
            key=lambda head: (
                round(float(np.minimum(covered, scaled[head[0]][:, head[1]]).mean()), _TIE),
                float(cost[head[0]][head[1]]),
            ),
        )
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
