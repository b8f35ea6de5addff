"""The gate of bias: groups of the declared sensitive columns, which no model learns from, are to be treated alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from optagent.analysis.bias import GroupGap, group_differences
from optagent.arrays import Prediction
from optagent.domain.gate import GateResult, Gates, Verdict, judged_number
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
            found: Sequence[GroupGap] = group_differences(
                prepared.holdout.y, prediction, _groups(prepared.holdout_rows, column)
            )
        except Exception as error:  # fairlearn is a library of others: an error of this gate, not of the rest
            reason = f"it could not be judged: {error}"
            results.append(GateResult(f"{BIAS} by {column}", Verdict.ERROR, None, gates.max_bias, reason))
            continue
        results.extend(_judged_bias(gates, column, each, prepared) for each in found)
    return results


def _groups(rows: pa.Table, column: str) -> list[str]:
    """The names of the groups; rows without a value are one of them."""
    require_columns([column], rows.schema.names, "sensitive_columns")
    values = rows.column(column).to_pylist()
    return ["no value" if value is None or value != value else str(value) for value in values]


def _judged_bias(gates: Gates, column: str, found: GroupGap, prepared: PreparedRows) -> GateResult:
    name = f"{BIAS} by {column}: {found.measure}"
    too_small = f"; left out, since too small: {_shown(found.left_out)}" if found.left_out else ""
    evidence: dict[str, Any] = {"groups": dict(found.groups), "left_out": dict(found.left_out)}
    if found.difference is None:
        reason = f"not judged: fewer than two groups are large enough{too_small}"
        return GateResult(name, Verdict.INCONCLUSIVE, None, gates.max_bias, reason, evidence)
    classes = prepared.schema.classes
    of_class = ""
    if found.worst_class is not None and classes:
        of_class = f" of class {classes[found.worst_class]!r}"
        evidence["class"] = str(classes[found.worst_class])
    rows = sum(found.groups.values())
    reason = (
        f"the groups differ by {found.difference:.4g}{of_class} on {rows:,} rows ({_shown(found.groups)});"
        f" it had to be at most {gates.max_bias:g}{too_small}"
    )
    return judged_number(name, found.difference, gates.max_bias, True, reason, evidence)


def _shown(groups: Mapping[str, int]) -> str:
    """Some groups with their rows, the largest first."""
    largest = sorted(groups.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(largest) - _SHOWN} more" if len(largest) > _SHOWN else ""
    return ", ".join(f"{name} {rows:,}" for name, rows in largest[:_SHOWN]) + more
