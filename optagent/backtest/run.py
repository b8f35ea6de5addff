"""Backtests: a model's history under each policy of an ask, in parallel, and which one to take."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from optagent.backtest.compare import PolicyPredictions, advise, period_of, standings_of
from optagent.backtest.history import History, check_business, history_of
from optagent.backtest.simulate import SimulatedPolicy, looks, period_length, replay
from optagent.codec import decode
from optagent.domain.backtest import (
    LEAST_ROWS,
    BacktestAsk,
    BacktestResult,
    Contender,
    contender_named,
    policy_fields,
)
from optagent.domain.model import ModelSpec
from optagent.domain.policy import RetrainingPolicy
from optagent.errors import InvalidData, InvalidRequest
from optagent.ports import Workers
from optagent.training.metrics import metric_named

__all__ = ["compared", "contender_from", "contenders_from"]


def contender_from(text: str) -> Contender:
    """A policy by name, or a YAML or JSON file of its fields, which is compared under the name of the file."""
    path = Path(text)
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        return contender_named(text)
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRequest(f"{path}: cannot be read as a policy: {error}") from None
    try:
        return Contender(path.stem, decode(RetrainingPolicy, policy_fields(fields)))
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error}") from None


def contenders_from(text: str) -> tuple[Contender, ...]:
    """Policies by name and by file, as a command line writes them: by comma."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InvalidRequest("policy: at least one name or file is needed")
    return tuple(contender_from(name) for name in names)


def compared(
    spec: ModelSpec,
    table: pa.Table,
    ask: BacktestAsk,
    workers: Workers,
    cancelled: Callable[[], bool] = lambda: False,
) -> BacktestResult:
    """Replays each policy as an item of the workers' work, and compares what they answered. Blocks.

    Raises InvalidRequest, InvalidData for rows that cannot be replayed, Unavailable, and Cancelled when `cancelled`
    answered True.
    """
    history = history_of(table, spec, ask)
    check_business(history)
    longest_first = sorted(ask.policies, key=_effort, reverse=True)
    with workers.share((spec, table, ask)) as crew:
        done = {replayed.run.name: replayed for replayed in crew.map(_replayed, longest_first, cancelled)}
    return _result(history, ask, [done[one.name] for one in ask.policies])


def _effort(contender: Contender) -> tuple[bool, int]:
    """What takes long: to look at every window, then to have many reasons to run."""
    return looks(contender.policy), 0 if contender.policy is None else len(contender.policy.triggers)


def _replayed(shared: tuple[ModelSpec, pa.Table, BacktestAsk], contender: Contender) -> SimulatedPolicy:
    spec, table, ask = shared
    return replay(spec, table, contender, ask)


def _result(history: History, ask: BacktestAsk, replays: Sequence[SimulatedPolicy]) -> BacktestResult:
    spec, metric = history.spec, metric_named(history.spec.metric, history.spec.task)
    known = history.labelled[history.first :]
    time_of: npt.NDArray[np.float64] = history.time[history.first :][known]
    answers = PolicyPredictions(
        history.y[history.first :][known], time_of, {one.run.name: one.prediction[known] for one in replays}
    )
    length = period_length(spec, ask)
    notes = list(dict.fromkeys(note for one in replays for note in one.run.notes))
    few = sum(one.rows < LEAST_ROWS for one in replays[0].run.periods)
    if few:
        notes.append(
            f"{few} of {len(replays[0].run.periods)} periods have fewer than {LEAST_ROWS} labelled rows: too few for"
            " the monitor, and for what is counted as missed; a longer performance_window_hours has more"
        )
    found = BacktestResult(
        model_id=spec.model_id,
        metric=metric.name,
        maximize=metric.maximize,
        label_delay=ask.label_delay,
        step=ask.step,
        seed=ask.seed,
        start=history.begins,
        end=history.ends,
        rows=len(history.time) - history.first,
        learned_rows=history.learned,
        period_s=length,
        runs=tuple(one.run for one in replays),
    )
    if len(replays) < 2:
        return replace(found, notes=tuple(notes))
    oracles = {one.run.name for one in replays if one.run.oracle}
    try:
        groups = period_of(time_of, history.begins, length)
        standings = standings_of(answers, metric, groups, seed=ask.seed, oracles=oracles)
    except InvalidData as error:
        return replace(found, notes=(*notes, f"the policies are not compared: {error}"))
    takers = [one for one in standings if one.name not in oracles]
    advice = advise(takers, {one.run.name: one.run.counted.retrains for one in replays})
    return replace(
        found,
        standings=standings,
        recommended=advice.name,
        confidence=advice.confidence,
        confidence_in_words=advice.words,
        notes=tuple(notes),
    )
