"""Anchor of a model: its best champion so far, from which many steps that are each no worse may not lead away.

The alias `anchor` of the registry names it. A champion that is shown to be better than the anchor takes its place.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from optagent.domain.gate import NOT_WORSE, GateResult, Gates, Verdict
from optagent.domain.model import ModelVersion
from optagent.errors import ModelNotFound
from optagent.loop.gates.rival import find_rival
from optagent.loop.train.holdout import Baseline, HoldoutTest, compare_on_holdout
from optagent.loop.train.holdout_looks import scores_digest
from optagent.ports import Registry
from optagent.training.folds import MIN_HOLDOUT_ROWS

ANCHOR = "anchor"


def attach_anchor(
    gates: Gates, champion: ModelVersion, baseline: Baseline, test: HoldoutTest, registry: Registry
) -> tuple[Baseline, Mapping[str, str | None]]:
    """The champion's baseline with the anchor beside it, and the anchor's digests; blocks.

    Only gates of `not_worse` need one. The champion becomes the anchor where there is none, or a worse one.
    """
    if gates.beats_champion != NOT_WORSE:
        return baseline, {}
    anchor = _anchor_of(champion.model_id, registry)
    if anchor is not None and anchor.version == champion.version:
        return baseline, {}
    if anchor is not None:
        rival = find_rival(anchor, gates, test, registry)
        if rival.version is None or rival.baseline is None:
            return replace(baseline, why_no_anchor=f"not compared with the best champion so far: {rival.note}"), {}
        if not _is_better(baseline, rival.baseline, test):
            return replace(baseline, anchor=rename_anchor(rival.baseline, rival.version)), {
                "anchor_version": rival.version.version,
                "anchor_sha256": rival.version.digest,
                "anchor_scores_sha256": scores_digest(rival.baseline.prediction),
            }
    registry.set_alias(champion.model_id, ANCHOR, champion.version)
    return baseline, {}


def rename_anchor(measured: Baseline, version: ModelVersion) -> Baseline:
    return replace(measured, name=f"the best champion so far (version {version.version})")


def unmeasured_anchor(why: str) -> GateResult:
    """The result without an anchor that can be compared, which keeps out nobody."""
    return GateResult(ANCHOR, Verdict.PASS, None, None, why)


def _anchor_of(model_id: str, registry: Registry) -> ModelVersion | None:
    try:
        return registry.version(model_id, ANCHOR)
    except ModelNotFound:
        return None


def _is_better(champion: Baseline, anchor: Baseline, test: HoldoutTest) -> bool:
    """True where the champion is shown, one-sided, to be better than the anchor on these rows."""
    if champion.rows is not None:
        every_row = np.arange(len(champion.prediction))
        rows = np.intersect1d(champion.rows, every_row if anchor.rows is None else anchor.rows)
        if len(rows) < MIN_HOLDOUT_ROWS:
            return False
        anchor = replace(anchor, rows=rows)
    comparison = compare_on_holdout(champion.prediction, anchor, replace(test, alpha=2 * test.alpha))
    return comparison.verdict is Verdict.PASS
