"""A/A rollouts whose labels come late where they are bad: the share of runs that promote a candidate no better."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom

from optagent.analysis.rollout_evidence import look_at
from optagent.domain.model import Task
from optagent.domain.rollout import advance, begin
from optagent.domain.rollout_look import RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.loop.rollout.evidence import RowLoss, guarded_requests, labels_for, read_rollout_rows, rollout_losses
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema

SCHEMA = Schema((FeatureColumn("amount", Kind.NUMERIC),), "churned", Task.BINARY, ("no", "yes"))
BRIER = RowLoss(Task.BINARY)
RUNS, ROWS, HEARD_LATE_S = 80, 1_500, 300.0
ALIKE = RolloutPolicy(alpha=0.25, min_rows=300, horizon_rows=ROWS, ramp=(0.5,), guardrails={"errors": 0.5})
AT_RISK = replace(ALIKE, label_delay_s=HEARD_LATE_S)


def record_rows(rng, y, state):
    """Rows, one a second, of two versions that lose the same on average: the candidate less on "no", more on "yes"."""
    rows = len(y)
    champion = np.abs(y - 0.3) + rng.normal(0, 0.02, rows)
    candidate = np.abs(y - np.sqrt(np.abs(y - champion) ** 2 + np.where(y, 0.08, -0.02)))
    to_candidate = rng.random(rows) < 0.5 if state == "ramp" else np.zeros(rows, dtype=bool)
    split = state == "ramp"
    return pa.table(
        {
            "id": [f"p{number:05d}" for number in range(rows)],
            "time": pa.array(np.arange(1, rows + 1) * 1_000_000).cast(pa.timestamp("us", "UTC")),
            "rollout": ["r1"] * rows,
            "state": [state] * rows,
            "arm": np.where(to_candidate, "candidate", "champion").tolist(),
            "share": np.full(rows, 0.5 if split else 0.0),
            "failed": np.zeros(rows, dtype=bool),
            "latency_ms": np.ones(rows),
            "champion_0": pa.array(champion, mask=to_candidate & split),
            "candidate_0": pa.array(candidate, mask=~to_candidate & split),
        }
    )


def promotions(policy, runs):
    """The number of runs in which a candidate that is no better gets on; a look comes every 100 s.

    One row in five is a "yes", which comes 300 s later than a "no", on split traffic only where the candidate answered.
    """
    first, promoted = begin("r1", "churn", "1", "2", policy, 0.0, "ana"), 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        y = rng.random(ROWS) < 0.2
        rows = record_rows(rng, y, str(first.state))
        labels = rows.select(["id", "time"]).append_column("label", [np.where(y, "yes", "no").tolist()])
        late = y & ((rows["arm"].to_numpy() == "candidate") | policy.shadow)
        heard = np.arange(1, ROWS + 1) + np.where(late, HEARD_LATE_S, 0)
        evidence, rollout = read_rollout_rows([rows], "r1", 1), first
        for now in range(400, ROWS + 400, 100):
            labels_by_now = labels_for(evidence, [labels.filter(pa.array(heard <= now))], SCHEMA)
            look = look_at(
                rollout,
                str(now),
                now,
                rollout_losses(evidence, labels_by_now, BRIER, rollout, now),
                guarded_requests(evidence, rollout),
            )
            rollout = advance(rollout, look, now)
            if rollout.state is not first.state:
                promoted += rollout.state in (RolloutState.RAMP, RolloutState.BAKING)
                break
    return promoted


@pytest.mark.parametrize("policy", [AT_RISK, replace(AT_RISK, shadow=False)], ids=["shadow", "ramp"])
def test_labels_that_come_late_where_they_are_bad_promote_no_more_often_than_alpha(policy):
    alpha = policy.shadow_alpha if policy.shadow else policy.ramp_alpha

    assert promotions(policy, RUNS) <= binom.ppf(0.999, RUNS, alpha)


def test_without_waiting_for_those_labels_they_would():
    assert promotions(ALIKE, runs=20) > binom.ppf(0.999, 20, ALIKE.shadow_alpha)
