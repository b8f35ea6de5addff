"""Bias gate: the groups of each declared sensitive column, which no model learns from, have to be treated alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from optagent.analysis.bias import GroupGap, group_differences
from optagent.arrays import Prediction
from optagent.domain.gate import GateResult, Gates, Verdict, judge_number
from optagent.loop.train.prepare import PreparedRows
from optagent.training.columns import require_columns

BIAS = "bias"

_SHOWN = 5


def judge_bias(gates: Gates, prediction: Prediction, prepared: PreparedRows) -> list[GateResult]:
    """Two results for each sensitive column, where the check is asked for."""
    if not gates.enable_bias_check:
        return []
    columns = prepared.spec.sensitive_columns
    if not columns or not prepared.spec.task.classifies:
        why = "declare sensitive_columns of the model, by which it can be judged"
        if not prepared.spec.task.classifies:
            why = "the check is for classifiers"
        return [GateResult(BIAS, Verdict.INCONCLUSIVE, None, gates.max_bias, f"not judged: {why}")]
    results: list[GateResult] = []
    for column in columns:
        try:
            gaps: Sequence[GroupGap] = group_differences(
                prepared.holdout.y, prediction, _groups(prepared.holdout_rows, column)
            )
        except Exception as error:  # fairlearn may raise anything: it is an error of this gate only
            reason = f"it could not be judged: {error}"
            results.append(GateResult(f"{BIAS} by {column}", Verdict.ERROR, None, gates.max_bias, reason))
            continue
        results.extend(_judge_gap(gates, column, gap, prepared) for gap in gaps)
    return results


def _groups(rows: pa.Table, column: str) -> list[str]:
    """The names of the groups; rows without a value are one of them."""
    require_columns([column], rows.schema.names, "sensitive_columns")
    values = rows.column(column).to_pylist()
    return ["no value" if value is None or value != value else str(value) for value in values]


def _judge_gap(gates: Gates, column: str, gap: GroupGap, prepared: PreparedRows) -> GateResult:
    name = f"{BIAS} by {column}: {gap.measure}"
    too_small = f"; left out, since too small: {_list_groups(gap.left_out)}" if gap.left_out else ""
    evidence: dict[str, Any] = {"groups": dict(gap.groups), "left_out": dict(gap.left_out)}
    if gap.difference is None:
        reason = f"not judged: fewer than two groups are large enough{too_small}"
        return GateResult(name, Verdict.INCONCLUSIVE, None, gates.max_bias, reason, evidence)
    classes = prepared.schema.classes
    of_class = ""
    if gap.worst_class is not None and classes:
        of_class = f" of class {classes[gap.worst_class]!r}"
        evidence["class"] = str(classes[gap.worst_class])
    rows = sum(gap.groups.values())
    reason = (
        f"the groups differ by {gap.difference:.4g}{of_class} on {rows:,} rows ({_list_groups(gap.groups)});"
        f" it had to be at most {gates.max_bias:g}{too_small}"
    )
    return judge_number(name, gap.difference, gates.max_bias, True, reason, evidence)


def _list_groups(groups: Mapping[str, int]) -> str:
    """Some groups with their rows, the largest first."""
    largest = sorted(groups.items(), key=lambda item: (-item[1], item[0]))
    rest = f" and {len(largest) - _SHOWN} more" if len(largest) > _SHOWN else ""
    return ", ".join(f"{name} {rows:,}" for name, rows in largest[:_SHOWN]) + rest
