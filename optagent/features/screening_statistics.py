"""Screening statistics: how much of a residual the curves of each candidate explain, against the largest value by
chance.

All candidates are tested at once, so the bar is the distribution of the largest statistic among them where there is
nothing to find: the same residual, permuted within folds (Westfall and Young 1993, Resampling-based multiple testing,
the single-step max statistic). On noise a search then keeps anything with probability alpha, however many candidates it
tests and however alike they are.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix
from optagent.features.basis import Curves, curves
from optagent.features.fit import fit_plan
from optagent.features.label_screening import label_statistics, label_values
from optagent.features.residual import Residual, permuted_residuals
from optagent.training.problem import Data
from optagent.training.steps import Step
from optagent.training.target_mean import TargetMean
from optagent.training.transform import Transformer

_LEAST_SHARE = 0.05  # of a candidate's curves that must lie on the rows of the question


@dataclass(frozen=True, slots=True, eq=False)
class ScreeningTarget:
    """A residual on some of the rows: `residual` is (rows, components), and 0 on the rows where `asked` is false.
    `parts` (rows,) is the fold of each row."""

    residual: Residual
    asked: npt.NDArray[np.bool_]
    parts: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """The residuals that every block of candidates is tested against; large, so that workers share one.

    `residuals` is (rows, questions x (1 + draws) x components) float32, each residual itself before its draws; `asked`
    (rows, questions) is 1 on the rows of a question and 0 elsewhere.
    """

    data: Data
    questions: tuple[ScreeningTarget, ...]
    residuals: Matrix
    asked: Matrix
    draws: int
    flexible: bool


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Candidates, and the questions for which each is a candidate: `admitted` is (steps, questions)."""

    steps: tuple[Step, ...]
    admitted: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class BlockStatistics:
    """The statistics of one block. `statistics` are (steps, questions), chi-squared in shape where there is nothing;
    `best` (questions, draws) is the largest statistic of the block in each permutation."""

    steps: tuple[Step, ...]
    statistics: npt.NDArray[np.float64]
    best: npt.NDArray[np.float64]


Spread = Callable[[Screen, Iterable[Block]], Iterable[BlockStatistics]]
"""Runs `screen_block` on every block, in any order or place."""


def build_screen(
    data: Data,
    questions: Sequence[ScreeningTarget],
    draws: int,
    seed: int,
    *,
    ordered: bool = False,
    flexible: bool = True,
) -> Screen:
    """The screen of some questions; `data` holds the rows that the questions are about, in their order."""
    rng = np.random.default_rng(seed)
    columns = []
    for question in questions:
        columns.append(question.residual[None])
        permuted = np.zeros((draws, *question.residual.shape), dtype=np.float32)
        rows = question.asked
        permuted[:, rows] = permuted_residuals(question.residual[rows], question.parts[rows], draws, rng, ordered)
        columns.append(permuted)
    stacked = np.concatenate(columns).astype(np.float32)  # (questions x (1 + draws), rows, components)
    residuals = np.ascontiguousarray(stacked.transpose(1, 0, 2).reshape(len(data), -1))
    masks = np.column_stack([question.asked for question in questions]).astype(np.float32)
    return Screen(data, tuple(questions), residuals, masks, draws, flexible)


def screen_serially(screen: Screen, blocks: Iterable[Block]) -> Iterable[BlockStatistics]:
    """Screens block after block in this process."""
    return (screen_block(screen, block) for block in blocks)


def screen_block(screen: Screen, block: Block) -> BlockStatistics:
    """The statistics of one block, which depend on no other block."""
    block_statistics = _statistics_of_steps(screen, block.steps)
    block_statistics[~block.admitted] = 0.0
    return BlockStatistics(
        block.steps, block_statistics[:, :, 0].copy(), block_statistics[:, :, 1:].max(axis=0, initial=0.0)
    )


def _statistics_of_steps(screen: Screen, steps: Sequence[Step]) -> npt.NDArray[np.float64]:
    """(steps, questions, 1 + draws) of curves of their values, or of means of each residual for means of the target."""
    computed = np.empty((len(steps), len(screen.questions), 1 + screen.draws))
    others = [place for place, step in enumerate(steps) if not isinstance(step, TargetMean)]
    if others:
        computed[others] = statistics(candidate_curves(screen, [steps[place] for place in others]), screen)
    for place, step in enumerate(steps):
        if isinstance(step, TargetMean):
            residuals = screen.residuals.reshape(len(screen.residuals), *computed.shape[1:])  # of one component
            computed[place] = label_statistics(screen.data, step, residuals, screen.asked)
    return computed


def candidate_curves(screen: Screen, steps: Sequence[Step]) -> Curves:
    """The curves of the candidates on the rows of the screen."""
    return curves(step_values(screen.data, steps), screen.flexible)


def step_values(
    data: Data, steps: Sequence[Step], asked: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float32]:
    """(steps, rows) values, in the order of the steps; means of the target are of the rows `asked`, by default all, and
    out of fold there."""
    plan = fit_plan(data, steps)
    place = {step.name: index for index, step in enumerate(plan.steps)}
    values = np.ascontiguousarray(Transformer(plan).compute_steps(data.x).T)
    rows = np.arange(len(data)) if asked is None else np.flatnonzero(asked)
    for index, step in enumerate(plan.steps):
        if isinstance(step, TargetMean):
            values[index] = label_values(data, step, rows)
    return values[[place[step.name] for step in steps]]


def statistics(shapes: Curves, screen: Screen) -> npt.NDArray[np.float64]:
    """(features, questions, 1 + draws): the squared parts of each residual that lie along a feature's curves."""
    features, degrees, rows = shapes.shape
    flat = shapes.reshape(-1, rows)
    along = (flat @ screen.residuals).reshape(features, degrees, len(screen.questions), 1 + screen.draws, -1)
    lengths = (np.square(flat) @ screen.asked).reshape(features, degrees, len(screen.questions))
    weight = np.where(lengths > _LEAST_SHARE * screen.asked.mean(axis=0), 1 / np.maximum(lengths, 1e-9), 0.0)
    return np.einsum("fdqbc,fdq->fqb", np.square(along, dtype=np.float64), weight)


@dataclass(frozen=True, slots=True, eq=False)
class ChanceBar:
    """The distribution of the largest statistic by chance, over all blocks; several questions count together."""

    chance: npt.NDArray[np.float64]
    alpha: float

    @property
    def height(self) -> float:
        """A statistic above it has an adjusted p-value of at most alpha."""
        allowed = int(self.alpha * (len(self.chance) + 1)) - 1
        return float(np.sort(self.chance)[::-1][allowed]) if allowed >= 0 else np.inf

    def p_value(self, statistic: float) -> float:
        """The p-value of a statistic, adjusted for all the candidates."""
        return float((1 + (self.chance >= statistic).sum()) / (len(self.chance) + 1))


def chance_bar(blocks: Sequence[BlockStatistics], alpha: float, questions: slice) -> ChanceBar:
    """The bar of these questions."""
    return ChanceBar(np.max([block.best[questions] for block in blocks], axis=0).ravel(), alpha)
