"""Gate rows: the answers of a candidate and its champion on a holdout, from which shadow goes on."""

from dataclasses import dataclass

from optagent.analysis.rollout_evidence import LARGEST_ALPHA, sum_gate_rows
from optagent.arrays import Prediction, Vector
from optagent.domain.gate import Gates
from optagent.domain.gate_evidence import GateEvidence
from optagent.domain.model import ModelVersion
from optagent.loop.gates.rival import find_rival
from optagent.loop.rollout.evidence import RowLoss
from optagent.loop.train.holdout import HoldoutTest
from optagent.ports import Registry
from optagent.training.families.family import FittedModel

_FEWEST = 100  # rows: fewer add nothing that shadow would not have in a moment


@dataclass(frozen=True, slots=True, eq=False)
class GateRows:
    """Holdout rows that neither model learned, in the order of time: targets (rows,) and scores (rows, outputs)."""

    y: Vector
    champion: Prediction
    candidate: Prediction

    def sum_up(self, loss: RowLoss, alpha: float) -> GateEvidence:
        """The evidence of the rows by the loss of a rollout; `alpha` is the risk of its proof."""
        champion, candidate = (loss(self.y, scores) for scores in (self.champion, self.candidate))
        return sum_gate_rows(champion - candidate, min(alpha, LARGEST_ALPHA))


def read_gate_rows(
    champion: ModelVersion, model: FittedModel, gates: Gates, test: HoldoutTest, registry: Registry
) -> GateRows | None:
    """The rows on which this very model was compared with this very champion; None where there are too few; blocks."""
    rival = find_rival(champion, gates, test, registry)
    if rival.baseline is None or rival.version is None or rival.version.version != champion.version:
        return None
    holdout, rows = test.prepared.holdout, rival.baseline.rows
    y, own = holdout.y, model.predict(holdout.x)
    theirs = rival.baseline.prediction
    if rows is not None:
        y, own, theirs = y[rows], own[rows], theirs[rows]
    if len(y) < _FEWEST:
        return None
    return GateRows(y, theirs.reshape(len(y), -1), own.reshape(len(y), -1))
