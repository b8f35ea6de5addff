"""Selection skill: the chance that the best of a search's trials is its best by luck."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SelectionSkill:
    """Overfitting of a search, from the gains of its trials over a constant answer in blocks of validation rows.

    `trials` were tried, `compared` of them have gains in all `blocks`. `overfitting` is the probability that the trial
    that is best on one half of the blocks is below the median on the other (PBO; Bailey, Borwein, López de Prado and
    Zhu 2017), None for fewer than eight blocks. `sharpe` is the mean gain of the best trial over its standard deviation
    across blocks, `lucky_sharpe` the one that the best of as many trials without skill is expected to show, and
    `deflated` the probability that the true ratio is above 0 all the same (deflated Sharpe ratio; Bailey and López de
    Prado 2014), None where it is undefined.
    """

    trials: int
    compared: int
    blocks: int
    sharpe: float
    lucky_sharpe: float
    overfitting: float | None = None
    deflated: float | None = None

    @property
    def words(self) -> str:
        """The verdict as a sentence.

        >>> SelectionSkill(40, 31, 16, 0.84, 0.35, overfitting=0.31).words
        'best of 40 trials in 16 blocks: probability of overfitting 31%, gain 0.84 sd a block where luck gives 0.35'
        """
        parts = [f"best of {self.trials} trials in {self.blocks} blocks: "]
        if self.overfitting is not None:
            parts.append(f"probability of overfitting {self.overfitting:.0%}, ")
        parts.append(f"gain {self.sharpe:.2f} sd a block where luck gives {self.lucky_sharpe:.2f}")
        if self.deflated is not None:
            parts.append(f", deflated probability of skill {self.deflated:.1%}")
        return "".join(parts)
