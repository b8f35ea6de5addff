"""Rival of a candidate: the version that stands for the champion at the gates, on rows that neither has learned.

A candidate that is trained again on all rows before it competes is judged as a recipe, and so is its rival: a champion
that was trained again is represented by the version by which its own recipe was judged. Both have learned all but the
newest rows of their days, as their refits have learned all, so that they differ by what their refits differ by. The
champion itself would have learned newer rows than the candidate, and most of the candidate's holdout.
"""

from contextlib import suppress
from dataclasses import dataclass, replace

from optagent.domain.gate import Gates
from optagent.domain.model import MEASURED_AS, ModelVersion
from optagent.errors import ModelNotFound
from optagent.loop.train.holdout import Baseline, HoldoutTest, version_on_holdout
from optagent.ports import Registry
from optagent.training.folds import MIN_HOLDOUT_ROWS


@dataclass(frozen=True, slots=True)
class Rival:
    """The version that a candidate is compared with, and its prediction; the note says why there is none."""

    version: ModelVersion | None = None
    baseline: Baseline | None = None
    note: str | None = None


def find_rival(champion: ModelVersion | None, gates: Gates, test: HoldoutTest, registry: Registry) -> Rival:
    """The first version that can be compared, of those that may stand for the champion; blocks.

    A version that has learned rows of the holdout is compared on the others, and not at all where they are fewer than a
    holdout must have.
    """
    rival, least = Rival(), max(gates.min_validation_samples, MIN_HOLDOUT_ROWS)
    for version in _versions_for(champion, test, registry):
        baseline, note = version_on_holdout(version, test.prepared, registry, least)
        if baseline is not None and champion is not None and version.version != champion.version:
            name = f"version {version.version}, as which champion version {champion.version} was measured"
            baseline = replace(baseline, name=name)
        rival = Rival(version, baseline, note)
        if baseline is not None:
            break
    return rival


def _versions_for(champion: ModelVersion | None, test: HoldoutTest, registry: Registry) -> list[ModelVersion]:
    """The versions that may stand for the champion, the best one first."""
    if champion is None:
        return []
    if test.before_refit and MEASURED_AS in champion.tags:
        with suppress(ModelNotFound):
            return [registry.version(champion.model_id, champion.tags[MEASURED_AS]), champion]
    return [champion]
