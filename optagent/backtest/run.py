"""Backtests of policies: each is simulated on a model's history in parallel, then they are compared and one is
recommended."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from optagent.backtest.compare import PolicyPredictions, advise, period_of, standings_of
from optagent.backtest.history import History, check_business, history_of
from optagent.backtest.simulate import SimulatedPolicy, needs_monitor, period_length, simulate
from optagent.codec import decode
from optagent.domain.backtest import (
    BacktestAsk,
    BacktestResult,
    Contender,
    contender_named,
    policy_fields,
)
from optagent.domain.model import ModelSpec
from optagent.domain.policy import RetrainingPolicy
from optagent.domain.policy_run import LEAST_ROWS
from optagent.errors import InvalidData, InvalidRequest
from optagent.ports import Workers
from optagent.training.metrics import metric_named


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
    """Policies by name and by file, separated by commas as on a command line."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InvalidRequest("policy: at least one name or file is needed")
    return tuple(contender_from(name) for name in names)


def run_backtest(
    spec: ModelSpec,
    table: pa.Table,
    ask: BacktestAsk,
    workers: Workers,
    cancelled: Callable[[], bool] = lambda: False,
) -> BacktestResult:
    """Simulates each policy as an item of the workers' work, and compares their predictions. Blocks.

    Raises InvalidRequest, InvalidData for unusable rows, Unavailable, and Cancelled when `cancelled` returned True.
    """
    history = history_of(table, spec, ask)
    check_business(history)
    longest_first = sorted(ask.policies, key=_expected_effort, reverse=True)
    with workers.share((spec, table, ask)) as crew:
        simulations = crew.map(_simulate_policy, longest_first, cancelled)
        by_name = {simulation.run.name: simulation for simulation in simulations}
    return _result(history, ask, [by_name[contender.name] for contender in ask.policies])


def _expected_effort(contender: Contender) -> tuple[bool, int]:
    """A sort key: monitoring of every window takes longest, then the number of triggers decides."""
    return needs_monitor(contender.policy), 0 if contender.policy is None else len(contender.policy.triggers)


def _simulate_policy(shared: tuple[ModelSpec, pa.Table, BacktestAsk], contender: Contender) -> SimulatedPolicy:
    spec, table, ask = shared
    return simulate(spec, table, contender, ask)


def _result(history: History, ask: BacktestAsk, simulations: Sequence[SimulatedPolicy]) -> BacktestResult:
    spec, metric = history.spec, metric_named(history.spec.metric, history.spec.task)
    labelled = history.labelled[history.first :]
    time: npt.NDArray[np.float64] = history.time[history.first :][labelled]
    policies = PolicyPredictions(
        history.y[history.first :][labelled],
        time,
        {simulation.run.name: simulation.prediction[labelled] for simulation in simulations},
    )
    length = period_length(spec, ask)
    notes = list(dict.fromkeys(note for simulation in simulations for note in simulation.run.notes))
    few = sum(period.rows < LEAST_ROWS for period in simulations[0].run.periods)
    if few:
        notes.append(
            f"{few} of {len(simulations[0].run.periods)} periods have fewer than {LEAST_ROWS} labelled rows: too few"
            " for the monitor, and for what is counted as missed; a longer performance_window_hours has more"
        )
    result = BacktestResult(
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
        runs=tuple(simulation.run for simulation in simulations),
    )
    if len(simulations) < 2:
        return replace(result, notes=tuple(notes))
    oracles = {simulation.run.name for simulation in simulations if simulation.run.oracle}
    try:
        groups = period_of(time, history.begins, length)
        standings = standings_of(policies, metric, groups, seed=ask.seed, oracles=oracles)
    except InvalidData as error:
        return replace(result, notes=(*notes, f"the policies are not compared: {error}"))
    real_standings = [standing for standing in standings if standing.name not in oracles]
    advice = advise(
        real_standings, {simulation.run.name: simulation.run.counted.retrains for simulation in simulations}
    )
    return replace(
        result,
        standings=standings,
        recommended=advice.name,
        confidence=advice.confidence,
        confidence_in_words=advice.words,
        notes=tuple(notes),
    )
