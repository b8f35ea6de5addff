"""Guard of a mixture: the least weight of the champion by which no delay of labels can break the bound against it.

Let R be the nats by which the answers are behind the champion's on the rows that were learned, b the bound with labels
at once, and D the most rows that ever waited for their labels. The promise is that the loss is never more than
(D + 1) b behind. What the rows that wait can add at most is known, since it is known what was said about them. The rest
is spread over the rows that may come before the next weights: an answer in which the champion has weight v is never
more than -ln v behind it, whatever the outcome, since the losses are exp-concave, nor more than the bounds of the loss
allow. Rows beyond the most that ever waited raise D, and so bring b each.

With labels at once nothing waits, and Bayes' rule keeps the same inequality by itself, so that the guard does next to
nothing: a guard that gave more to the champion would cost the bound against the other slots.
With late labels Bayes' rule alone does not keep it: where outcomes alternate in stretches of twice the delay, the
weights are always those of the stretch before, and the loss grows for ever (delayed feedback: Weinberger and Ordentlich
2002, who interleave D + 1 learners; that would learn D + 1 times as slowly).
"""

import math

AHEAD = 10.0
"""The guard counts with so many times the rows between the last two passes before the next weights."""


def champion_share(own_weight: float, behind: float, bound: float, most_excess: float, rows: "GuardedRows") -> float:
    """The share of the answer that goes to the champion beyond the weight that it has anyway, from 0 to 1.

    `own_weight` is that of the champion alone in the mixture, `behind` the nats by which the learned rows are behind
    it, and those that wait may be at most. An answer to one row can be `most_excess` behind another at most.
    """
    if (rows.most_open + 1) * bound <= behind:
        return 1.0
    a_row = affordable_excess(behind, bound, rows)
    least = math.exp(-a_row)
    if a_row >= most_excess or own_weight >= least:
        return 0.0
    return min(1.0, (least - own_weight) / (1.0 - own_weight))


def affordable_excess(behind: float, bound: float, rows: "GuardedRows") -> float:
    """The nats that each of the next rows may cost, however many of them come before the next weights."""
    left = rows.most_open + 1 - rows.waiting
    within = ((rows.most_open + 1) * bound - behind) / left
    ahead = AHEAD * rows.newest
    if ahead <= left:
        return within
    return min(within, bound + ((rows.waiting + 1) * bound - behind) / ahead)


class GuardedRows:
    """The numbers of rows that the guard counts with: those that wait for labels now, the most that ever did, and the
    newest, which were answered since the pass of before."""

    __slots__ = ("most_open", "newest", "waiting")

    def __init__(self, waiting: int, most_open: int, newest: int) -> None:
        self.waiting = waiting
        self.most_open = max(most_open, waiting)
        self.newest = newest
