"""Backtests of policies: each is simulated on a model's history in parallel, then they are compared and one is
recommended."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pyarrow as pa
import yaml

from optagent.arrays import Vector
from optagent.backtest.compare import PolicyPredictions, advise, period_of, standings_of
from optagent.backtest.history import History, check_business, history_of
from optagent.backtest.simulate import SimulatedPolicy, needs_monitor, period_length, simulate
from optagent.backtest.trading import check_trading
from optagent.codec import policy_from
from optagent.domain.backtest import (
    BacktestAsk,
    BacktestResult,
    Contender,
    Standing,
    contender_named,
    policy_fields,
)
from optagent.domain.model import ModelSpec
from optagent.domain.policy_run import LEAST_ROWS, PolicyRun, ReplayedPath
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
        return Contender(path.stem, policy_from(policy_fields(fields)))
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
    on_replay: Callable[[int, int], None] = lambda done, total: None,
) -> BacktestResult:
    """Simulates each policy as an item of the workers' work, and compares their predictions. Blocks.

    `on_replay` is told how many replays, of how many, are done: one for each policy and seed.

    Raises InvalidRequest, InvalidData for unusable rows, Unavailable, and Cancelled when `cancelled` returned True.
    """
    history = history_of(table, spec, ask)
    check_business(history)
    check_trading(history)
    longest_first = sorted(ask.policies, key=_expected_effort, reverse=True)
    paths = [(contender, seed) for contender in longest_first for seed in _seeds(ask)]
    on_replay(0, len(paths))
    with workers.share((spec, table, ask)) as crew:
        simulations = crew.map(_simulate_path, paths, cancelled, lambda done: on_replay(done, len(paths)))
    by_name: dict[str, list[SimulatedPolicy]] = {}
    for simulation in simulations:
        by_name.setdefault(simulation.run.name, []).append(simulation)
    return _result(history, ask, [by_name[contender.name] for contender in ask.policies])


def _seeds(ask: BacktestAsk) -> range:
    return range(ask.seed, ask.seed + ask.seeds)


def _expected_effort(contender: Contender) -> tuple[bool, int]:
    """A sort key: monitoring of every window takes longest, then the number of triggers decides."""
    return needs_monitor(contender.policy), 0 if contender.policy is None else len(contender.policy.triggers)


def _simulate_path(shared: tuple[ModelSpec, pa.Table, BacktestAsk], path: tuple[Contender, int]) -> SimulatedPolicy:
    (spec, table, ask), (contender, seed) = shared, path
    return simulate(spec, table, contender, replace(ask, seed=seed))


def _result(history: History, ask: BacktestAsk, simulations: Sequence[Sequence[SimulatedPolicy]]) -> BacktestResult:
    """The answer; `simulations` has those of each policy, one for each seed."""
    spec, metric = history.spec, metric_named(history.spec.metric, history.spec.task)
    runs = tuple(_run_of_seeds(of_policy, ask) for of_policy in simulations)
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
        period_s=period_length(spec, ask),
        runs=runs,
        notes=tuple(_notes(runs, ask)),
        seeds=ask.seeds,
    )
    if len(runs) < 2:
        return result
    oracles = {run.name for run in runs if run.oracle}
    try:
        standings = _standings(history, ask, simulations, oracles)
    except InvalidData as error:
        return replace(result, notes=(*result.notes, f"the policies are not compared: {error}"))
    real_standings = [standing for standing in standings if standing.name not in oracles]
    advice = advise(real_standings, {run.name: fmean(each.retrains for each in run.counts_by_seed) for run in runs})
    return replace(
        result,
        standings=standings,
        recommended=advice.name,
        confidence=advice.confidence,
        confidence_in_words=advice.words,
    )


def _run_of_seeds(simulations: Sequence[SimulatedPolicy], ask: BacktestAsk) -> PolicyRun:
    """The run of the first seed, with the metric and the counts of each seed where there are several."""
    runs = [simulation.run for simulation in simulations]
    if len(runs) < 2:
        return runs[0]
    paths = tuple(ReplayedPath(seed, run.metric, run.counted) for seed, run in zip(_seeds(ask), runs, strict=True))
    metrics = [path.metric for path in paths if path.metric is not None]
    notes = tuple(dict.fromkeys(note for run in runs for note in run.notes))
    return replace(runs[0], metric=fmean(metrics) if metrics else None, notes=notes, paths=paths)


def _notes(runs: Sequence[PolicyRun], ask: BacktestAsk) -> Iterator[str]:
    yield from dict.fromkeys(note for run in runs for note in run.notes)
    if ask.seeds == 1 and len(runs) > 1:
        yield "one seed: the intervals hold the spread over time, not that of training; 3 to 5 seeds show it"
    periods = runs[0].periods
    few = sum(period.rows < LEAST_ROWS for period in periods)
    if few:
        yield (
            f"{few} of {len(periods)} periods have fewer than {LEAST_ROWS} labelled rows: too few for the monitor, and"
            " for what is counted as missed; a longer performance_window_hours has more"
        )


def _standings(
    history: History, ask: BacktestAsk, simulations: Sequence[Sequence[SimulatedPolicy]], oracles: set[str]
) -> tuple[Standing, ...]:
    labelled = history.labelled[history.first :]
    y: Vector = history.y[history.first :][labelled]
    time: Vector = history.time[history.first :][labelled]
    paths = [
        PolicyPredictions(y, time, {each.run.name: each.prediction[labelled] for each in of_seed})
        for of_seed in zip(*simulations, strict=True)
    ]
    groups = period_of(time, history.begins, period_length(history.spec, ask))
    metric = metric_named(history.spec.metric, history.spec.task)
    return standings_of(paths, metric, groups, seed=ask.seed, oracles=oracles)
