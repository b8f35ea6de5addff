"""Diversity of members: differences between their errors, from which all the gain of an ensemble comes.

Q statistic, disagreement and double fault are those of Kuncheva and Whitaker 2003 (Measures of diversity in classifier
ensembles, Machine Learning 51), for labels that are right or wrong; the correlation is of the residuals themselves.
None of them is a goal: the most diverse ensemble is one of bad models. They are reported, and break ties.
"""

from dataclasses import dataclass

import numpy as np

from optagent.arrays import Matrix64, Vector
from optagent.ensembles.members import Members
from optagent.ensembles.moments import Block


@dataclass(frozen=True, slots=True)
class Diversity:
    """Means over pairs of members, each pair counted by the product of its weights.

    `score` is between 0 (all members err alike) and 1 (errors are unrelated): one less the correlation of residuals,
    where a negative correlation counts as none. `q` is between -1 and 1; `disagreement` is the share of rows on which
    one of two is right, `double_fault` the share on which neither is. The three are None for a regression.
    """

    score: float
    residual_correlation: float
    q: float | None = None
    disagreement: float | None = None
    double_fault: float | None = None


def diversity(members: Members, weights: Vector | None = None) -> Diversity:
    """The diversity of members with equal weights, or with those given; a single member has none."""
    shares = np.ones(len(members)) if weights is None else np.asarray(weights, dtype=np.float64)
    pairs = np.triu(np.outer(shares, shares), 1)
    if not pairs.any():
        return Diversity(0.0, 1.0)

    def mean(values: Matrix64) -> float:
        return float((values * pairs).sum() / pairs.sum())

    correlation = members.moments.correlation
    score = mean(1 - np.maximum(correlation, 0.0))
    if not members.task.classifies:
        return Diversity(score, mean(correlation))
    both_wrong, one_wrong = fault_shares(members)
    return Diversity(score, mean(correlation), mean(q_statistics(members)), mean(one_wrong), mean(both_wrong))


def fault_shares(members: Members) -> tuple[Matrix64, Matrix64]:
    """(models, models): the share of rows on which both labels are wrong, and the share on which one of the two is."""
    both = _share_both_wrong(members)
    wrong = np.diag(both)
    return both, wrong[:, None] + wrong[None, :] - 2 * both


def q_statistics(members: Members) -> Matrix64:
    """(models, models): 1 where the two are right and wrong together, 0 where they err independently.

    It is 0 where the ratio is undefined, since one of the two is never wrong or never right; of a model with itself it
    is 1.
    """
    both_wrong = _share_both_wrong(members)
    wrong = np.diag(both_wrong)
    first_only = np.maximum(wrong[:, None] - both_wrong, 0.0)
    both_right = np.maximum(1 - wrong[:, None] - wrong[None, :] + both_wrong, 0.0)
    together, apart = both_right * both_wrong, first_only * first_only.T
    total = together + apart
    statistics = np.divide(together - apart, total, out=np.zeros_like(total), where=total > 1e-15)
    np.fill_diagonal(statistics, 1.0)
    return statistics


def _share_both_wrong(members: Members) -> Matrix64:
    counts = np.zeros((len(members), len(members)))
    for rows, block in members.blocks():
        wrong = (_labels(block) != members.y[rows]).astype(np.float32)  # counts of a block are exact in it
        counts += wrong @ wrong.T
    return counts / members.rows


def _labels(block: Block) -> Block:
    return (block >= 0.5).astype(np.float64) if block.ndim == 2 else block.argmax(axis=2).astype(np.float64)
