"""Holdout looks: each comparison on a holdout is written to the ledger of its model before it is made."""

import asyncio
import hashlib
import math
from dataclasses import replace

import numpy as np

from optagent.analysis.block_length import cube_root_length
from optagent.arrays import Prediction
from optagent.domain.ledger import HoldoutLook
from optagent.errors import Conflict
from optagent.loop.context import Ports
from optagent.loop.train.holdout import Baseline, Comparison, HoldoutTest, compare_on_holdout, verdict_of_interval
from optagent.loop.train.prepare import PreparedRows
from optagent.ports import Store
from optagent.sequential.holdout_ledger import share_of_look, widen_interval
from optagent.sequential.row_sample import sample_rows
from optagent.sequential.selected_gain import corrected_gain


def holdout_digest(prepared: PreparedRows) -> str:
    """SHA-256 of model, target column, target values and their times: the same for any features, encoding or plan."""
    digest = hashlib.sha256(f"{prepared.spec.model_id}\n{prepared.spec.target}\n".encode())
    digest.update(np.ascontiguousarray(prepared.holdout.y).data)
    if prepared.holdout_time is not None:
        digest.update(np.ascontiguousarray(prepared.holdout_time, dtype=np.float64).data)
    return digest.hexdigest()


def scores_digest(prediction: Prediction) -> str:
    """SHA-256 of a prediction, to the last bit."""
    return hashlib.sha256(np.ascontiguousarray(prediction, dtype=np.float64).data).hexdigest()


def look_at(prepared: PreparedRows, candidate: str, process_id: str, at: float, alpha: float) -> HoldoutLook:
    """The ledger's entry of a look at this holdout; `alpha` is the risk of all looks of the model together."""
    sample = sample_rows(prepared.holdout.y, prepared.holdout_time)
    digest, model_id = holdout_digest(prepared), prepared.spec.model_id
    return HoldoutLook(digest, candidate, process_id, at, alpha, model_id=model_id, sample=sample)


async def record_look(store: Store, look: HoldoutLook, spends: bool = True) -> HoldoutLook:
    """The look as the ledger has it, with its number and, where it `spends`, its share of the risk."""
    while True:
        earlier = await store.looks(look.ledger)
        share = share_of_look(earlier, look) if spends else 0.0
        try:
            return await store.spend_look(look.ledger, replace(look, number=len(earlier) + 1, share=share))
        except Conflict:  # somebody looked meanwhile, which leaves less to spend
            continue


async def prove_on_holdout(
    candidate: Prediction, baseline: Baseline, test: HoldoutTest, process_id: str, ports: Ports
) -> Comparison:
    """The comparison of a search's outcome with the baseline, at the price of a look; `test.alpha` is the whole risk.

    A pass is a one-sided proof at the risk that the ledger gives. A look that a crash cuts short is counted, too.
    """
    look = look_at(test.prepared, scores_digest(candidate), process_id, ports.clock.now(), test.alpha)
    look = await record_look(ports.store, look)
    comparison = await asyncio.to_thread(compare_on_holdout, candidate, baseline, test)
    comparison = restrict_comparison(
        comparison, 2 * look.alpha_spent, degrees_of_freedom(test.prepared, comparison.rows)
    )
    await ports.store.settle_look(look.ledger, look.number, comparison.verdict)
    return comparison


def degrees_of_freedom(prepared: PreparedRows, rows: int) -> float:
    """The degrees of freedom of a spread that is resampled on `rows` of the holdout, for the far tails of its law.

    Blocks that overlap have 1.5 for each (Kuensch 1989). Entities, and rows without an order, have one.
    """
    if prepared.holdout_time is None:
        entity = prepared.holdout_entity
        return max(1.0, (len(prepared.holdout) if entity is None else len(np.unique(entity))) - 1.0)
    units = len(np.unique(prepared.holdout_time)) * rows / len(prepared.holdout)
    return max(1.0, units / cube_root_length(math.ceil(units)) * 1.5)


def restrict_comparison(comparison: Comparison, alpha: float, freedom: float) -> Comparison:
    """The comparison judged at a smaller alpha, half of it on each side, with the gain corrected where it passes."""
    improvement = widen_interval(comparison.improvement, alpha, freedom)
    corrected = corrected_gain(improvement, 0.0) if improvement.low > 0 else None
    return replace(comparison, improvement=improvement, verdict=verdict_of_interval(improvement), corrected=corrected)
