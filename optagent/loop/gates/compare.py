"""Comparison of gate decisions: the differences of a logged decision to its replay, its process and its ledger."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from optagent.domain.gate import Criterion, GateResult
from optagent.domain.gate_decision import GateDecision
from optagent.domain.ledger import HoldoutLook
from optagent.domain.process import Process
from optagent.domain.strategy import strategy_named
from optagent.loop.rollout.replay import ReplayDifference

_COMMAND = ("seed", "strategy", "gates")


def compare_gate(name: str, logged: GateResult | None, replayed: GateResult | None) -> ReplayDifference | None:
    """The first difference of two results of a gate."""
    where = f"gate {name}"
    if logged is None or replayed is None:
        presence = ["missing" if result is None else "there" for result in (logged, replayed)]
        return ReplayDifference(where, *presence)
    for each in ("verdict", "measured", "required"):
        for difference in compare_values(f"{where}: {each}", getattr(logged, each), getattr(replayed, each)):
            return difference
    for each in sorted({*logged.evidence, *replayed.evidence}):
        for difference in compare_values(f"{where}: {each}", logged.evidence.get(each), replayed.evidence.get(each)):
            return difference
    return next(iter(compare_values(f"{where}: reason", logged.reason, replayed.reason)), None)


def compare_process(decision: GateDecision, process: Process | None) -> Iterator[ReplayDifference]:
    """Differences of the entry to the command of the process that decided."""
    if process is None:
        return
    command: Mapping[str, Any] = process.command
    for name in _COMMAND:
        yield from compare_values(
            f"{name}, as process {decision.process_id} keeps it", getattr(decision, name), command.get(name)
        )
    until = process.kept.get("rows", {}).get("until")
    yield from compare_values(f"until, as process {decision.process_id} keeps it", decision.until, until)


def compare_ledger(
    decision: GateDecision, outcome: str, looks: Iterable[HoldoutLook] | None
) -> Iterator[ReplayDifference]:
    """Differences of the entry to the look in the ledger."""
    if looks is None or decision.look is None:
        return
    where = f"look {decision.look} of the ledger"
    look = next((each for each in looks if each.number == decision.look), None)
    if look is None:
        yield ReplayDifference(where, "there", "missing")
        return
    yield from compare_values(f"{where}: process", decision.process_id, look.process_id)
    yield from compare_values(f"{where}: candidate", decision.version, look.candidate)
    yield from compare_values(f"{where}: alpha", strategy_named(decision.strategy).alpha, look.alpha)
    if decision.criterion is Criterion.PROOF:
        yield from compare_values(f"{where}: alpha spent", decision.alpha, look.alpha_spent)
    yield from compare_values(f"{where}: verdict", outcome, None if look.verdict is None else str(look.verdict))


def compare_values(where: str, logged: Any, replayed: Any) -> list[ReplayDifference]:
    """The difference of two values, compared as JSON, so that -0.0 is not 0.0."""
    if _as_json(logged) == _as_json(replayed):
        return []
    return [ReplayDifference(where, _as_text(logged), _as_text(replayed))]


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else _as_json(value)
