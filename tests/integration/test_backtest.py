"""A history is replayed under policies by the very loop, in memory: what helps, what is known when, what is refused."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.adapters.pages.backtest import backtest_page
from optagent.analysis.report.backtest_table import policies_table
from optagent.backtest.run import contender_from, contenders_from, run_backtest
from optagent.backtest.simulate import SimulatedPolicy, simulate
from optagent.codec import decode, model_from, plain
from optagent.domain.backtest import BacktestAsk, BacktestResult, Contender, contender_named
from optagent.domain.command import BacktestModel
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec
from optagent.domain.policy import Action, OptimizationType, RetrainingPolicy, Trigger
from optagent.errors import InvalidData, InvalidRequest

DAYS, A_DAY, CHANGE = 44, 48, 22
LONG = 80  # days, in which a rollout can end
START = np.datetime64("2020-01-01", "s")
DELAY = "2d"


def history(days: int = DAYS, seed: int = 0) -> pa.Table:
    """Half-hourly rows; on day `CHANGE` the effect of `a` changes its sign."""
    rng = np.random.default_rng(seed)
    count = days * A_DAY
    a, b = rng.normal(size=(2, count))
    region = rng.choice(["north", "south", "east"], count)
    late = np.arange(count) >= CHANGE * A_DAY
    signal = np.where(late, -1.5 * a, 1.5 * a) + b + (region == "south") + rng.normal(scale=0.7, size=count)
    at = START + (np.arange(count) * (86_400 // A_DAY)).astype("timedelta64[s]")
    return pa.table({"at": at, "a": a, "b": b, "region": region, "label": np.where(signal > 0, "yes", "no")})


def model(**changes: Any) -> ModelSpec:
    return model_from(
        {
            "id": "power",
            "task": "binary",
            "data": "history.parquet",
            "target": "label",
            "time_column": "at",
            "folds": 2,
            "holdout_fraction": 0.15,
            "families": ["lightgbm"],
            "monitoring": {"performance_window_hours": 48},
            **changes,
        }
    )


def ask(*names: str, **changes: Any) -> BacktestAsk:
    return BacktestAsk(tuple(contender_named(name) for name in names), DELAY, **{"step": "48h", **changes})


def same(one: SimulatedPolicy, other: SimulatedPolicy) -> bool:
    """But for the seconds that it took."""

    def timeless(simulated: SimulatedPolicy) -> Any:
        runs = tuple(dataclasses.replace(run, compute_s=0.0) for run in simulated.run.runs)
        counted = dataclasses.replace(simulated.run.counted, compute_s=0.0)
        return dataclasses.replace(simulated.run, runs=runs, counted=counted)

    return bool(np.array_equal(one.prediction, other.prediction)) and timeless(one) == timeless(other)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return history()


@pytest.fixture(scope="module")
def long_table() -> pa.Table:
    return history(LONG)


class RecordingWorkers(SequentialWorkers):
    """Workers of a backtest; `simulations` has what they answered, by the name of the policy."""

    def __init__(self) -> None:
        self.simulations: dict[str, SimulatedPolicy] = {}

    @contextmanager
    def share(self, value: Any) -> Iterator["RecordingWorkers"]:
        self._value = value
        yield self

    def map(self, work: Any, items: Any, cancelled: Any, on_done: Any) -> list[SimulatedPolicy]:
        with super().share(self._value) as pool:
            results = pool.map(work, items, cancelled, on_done)
        self.simulations |= {one.run.name: one for one in results}
        return results


@pytest.fixture(scope="module")
def backtest(long_table: pa.Table) -> tuple[BacktestResult, dict[str, SimulatedPolicy]]:
    workers, wanted = RecordingWorkers(), ask("balanced:champion", "scheduled-ungated:8d", start=0.25)
    return run_backtest(model(), long_table, wanted, workers), workers.simulations


@pytest.fixture(scope="module")
def result(backtest: tuple[BacktestResult, dict[str, SimulatedPolicy]]) -> BacktestResult:
    return backtest[0]


@pytest.fixture(scope="module")
def balanced(backtest: tuple[BacktestResult, dict[str, SimulatedPolicy]]) -> SimulatedPolicy:
    return backtest[1]["balanced:champion"]


def test_after_a_change_a_policy_that_watches_is_better_than_doing_nothing(result: BacktestResult) -> None:
    never, balanced = result.run("never"), result.run("balanced:champion")
    standing = result.standing("balanced:champion")
    assert never.metric is not None
    assert balanced.metric is not None
    assert standing is not None
    assert balanced.metric > never.metric + 0.03
    assert standing.against_never.low > 0
    assert result.recommended != "never"
    assert balanced.counted.promoted >= 1
    assert balanced.counted.days_to_promotion is not None
    assert balanced.counted.days_to_promotion > 7
    assert never.counted.bad_periods == never.counted.missed > balanced.counted.missed


def test_nothing_runs_before_there_is_a_reason(result: BacktestResult, table: pa.Table) -> None:
    changed = (START + np.timedelta64(CHANGE, "D")).astype("datetime64[s]").astype(int)
    runs = result.run("balanced:champion").runs
    assert runs
    assert all(run.at > changed and run.trigger in ("degradation", "concept_drift") for run in runs)


def test_a_schedule_that_is_not_gated_promotes_whatever_it_trains(result: BacktestResult) -> None:
    runs = result.run("scheduled-ungated:8d").runs
    assert len(runs) >= 3
    assert all(run.promoted and run.trigger == "schedule" for run in runs)
    assert np.all(np.diff([run.at for run in runs]) == 8 * 86_400)


def test_an_oracle_shows_what_the_delay_of_labels_costs_and_is_never_recommended(table: pa.Table) -> None:
    policies = tuple(contender_named(name) for name in ("scheduled-ungated:6d", "oracle:6d"))
    wanted = BacktestAsk(policies, DELAY, start=0.45, step="48h")
    outcome = run_backtest(model(), table, wanted, SequentialWorkers())
    late, oracle = outcome.run("scheduled-ungated:6d"), outcome.run("oracle:6d")
    assert oracle.oracle
    assert oracle.metric > late.metric + 0.01  # type: ignore[operator]
    assert outcome.recommended != "oracle:6d"
    assert sum(one.best_in for one in outcome.standings if one.name != "oracle:6d") <= 1.0
    assert any("no policy to take" in note for note in outcome.notes)


def test_profit_is_compared_where_the_model_declares_it(table: pa.Table, tmp_path: Path) -> None:
    stake = pa.array(np.full(table.num_rows, 2.0))
    rows = table.append_column("stake", stake)
    business = {"profit": "where(prediction == label, stake, 0 - stake)", "b": "where(label == 'yes', b, b)"}
    spec = model(monitoring={"performance_window_hours": 48, "business": business}, ignore=["stake"])
    outcome = run_backtest(spec, rows, ask("scheduled-ungated:8d"), SequentialWorkers())
    never, scheduled = outcome.runs
    assert -2.0 < never.business["profit"] < scheduled.business["profit"] < 2.0  # type: ignore[operator]
    assert never.business["b"] == scheduled.business["b"]
    headings, (first, _) = policies_table(outcome)
    assert headings[-2:] == ["profit", "b"]
    assert first[-2] == f"{never.business['profit']:.5g}"
    assert "profit" in backtest_page(outcome)
    with pytest.raises(InvalidRequest, match="no column 'stake'"):
        run_backtest(spec, table, ask("balanced:champion"), SequentialWorkers())


def test_the_trades_of_a_policy_are_told_where_the_model_declares_their_rule(table: pa.Table) -> None:
    gain = pa.array(np.where(np.asarray(table.column("label")) == "yes", 0.01, -0.01))
    rule = {"position": "where(probability > 0.5, 1, -1)", "returns": "gain", "cost": 0.001, "asset": "region"}
    spec = model(monitoring={"performance_window_hours": 48, "trading": rule}, ignore=["gain"])
    rows = table.append_column("gain", gain)
    outcome = run_backtest(spec, rows, ask("scheduled-ungated:8d"), SequentialWorkers())
    never, scheduled = outcome.runs
    assert never.trading is not None
    assert scheduled.trading is not None
    assert scheduled.trading.sharpe.estimate > never.trading.sharpe.estimate  # type: ignore[union-attr]
    assert scheduled.trading.cost_a_trade == pytest.approx(0.002, rel=0.1)  # from long to short, and back
    headings, (first, _) = policies_table(outcome)
    assert headings[-6:] == ["Sharpe a year", "drawdown", "return a year", "turnover", "trades", "cost a trade"]
    assert first[-2] == str(never.trading.trades)
    assert decode(BacktestResult, plain(outcome)) == outcome
    with pytest.raises(InvalidRequest, match="no column 'gain'"):
        run_backtest(spec, table, ask("never"), SequentialWorkers())


def test_what_answers_is_the_champion_of_the_time_and_in_a_ramp_its_candidate(result: BacktestResult) -> None:
    for run in result.runs:
        promoted = [(one.at, one.promoted_at, one.version) for one in run.runs if one.promoted_at is not None]
        for period in run.periods:
            champion = next((version for _, since, version in promoted[::-1] if since < period.end), "1")
            candidates = [version for at, since, version in promoted if at < period.end <= since]
            assert period.version in (champion, *candidates)


def test_for_a_week_after_its_gate_a_candidate_answers_nothing(result: BacktestResult) -> None:
    balanced = result.run("balanced:champion")
    (passed,) = [run for run in balanced.runs if run.status == "success"]
    week = [one.version for one in balanced.periods if passed.at < one.end <= passed.at + 7 * 86_400]
    assert week
    assert passed.version not in week


def test_a_candidate_waits_for_its_rollout_and_no_other_optimization_starts_meanwhile(result: BacktestResult) -> None:
    runs = result.run("balanced:champion").runs
    (promoted,) = [run for run in runs if run.promoted]
    assert (promoted.status, promoted.rollout) == ("success", "promoted")
    assert promoted.promoted_at is not None
    assert not [run for run in runs if promoted.at < run.at < promoted.promoted_at]


def test_the_same_rows_in_any_order_give_the_same_replay_to_the_bit(
    balanced: SimulatedPolicy, long_table: pa.Table
) -> None:
    mixed = long_table.take(pa.array(np.random.default_rng(1).permutation(long_table.num_rows)))
    assert same(
        simulate(model(), mixed, contender_named("balanced:champion"), ask("balanced:champion", start=0.25)), balanced
    )


def test_what_comes_later_is_never_used(balanced: SimulatedPolicy, long_table: pa.Table) -> None:
    """Features of the future, and labels that have not come, are poisoned: all before is the same, to the bit."""
    (now,) = [run.promoted_at for run in balanced.run.runs if run.promoted_at is not None]
    table = long_table
    seconds = table.column("at").to_numpy().astype("datetime64[s]").astype(float)
    later, unknown = seconds >= now, seconds + 2 * 86_400 > now
    labels = table.column("label").to_numpy(zero_copy_only=False)
    poisoned = table.set_column(4, "label", pa.array(np.where(unknown, np.where(labels == "yes", "no", "yes"), labels)))
    for place, name in enumerate(("a", "b"), 1):
        values = table.column(name).to_numpy()
        poisoned = poisoned.set_column(place, name, pa.array(np.where(later, 9.0 - values, values)))
    outcome = simulate(model(), poisoned, contender_named("balanced:champion"), ask("balanced:champion", start=0.25))

    def until_now(simulated: SimulatedPolicy) -> Any:
        unsettled = {"compute_s": 0.0, "said": None, "rollout": None, "promoted": False, "promoted_at": None}
        runs = [dataclasses.replace(run, **unsettled) for run in simulated.run.runs if run.at <= now]
        scored = [one for one in simulated.run.periods if one.end + 2 * 86_400 <= now]
        return runs, scored, simulated.run.reference

    rows = int((~later).sum()) - int((seconds < outcome.run.periods[0].start).sum())
    assert len(until_now(outcome)[0]) >= 1
    assert until_now(outcome) == until_now(balanced)
    assert np.array_equal(outcome.prediction[:rows], balanced.prediction[:rows])
    assert not np.array_equal(outcome.prediction, balanced.prediction)


def test_a_candidate_that_waits_for_a_person_is_not_promoted(table: pa.Table) -> None:
    policy = RetrainingPolicy(
        (Trigger.SCHEDULE,), Action.CANDIDATE, every="10d", optimization_type=OptimizationType.RETRAIN
    )
    outcome = simulate(model(), table, Contender("mine", policy), ask())
    assert outcome.run.counted.retrains >= 2
    assert outcome.run.counted.promoted == 0
    assert "leaves it to a person" in outcome.run.notes[0]


def test_a_regression_is_replayed_by_its_error() -> None:
    table = history()
    value = (
        np.where(table.column("label").to_numpy(zero_copy_only=False) == "yes", 1.0, -1.0)
        + table.column("b").to_numpy()
    )
    table = table.set_column(4, "label", pa.array(value))
    spec = model(task="regression", families=["linear"])
    outcome = run_backtest(spec, table, ask("scheduled-ungated:8d"), SequentialWorkers())
    standing = outcome.standing("scheduled-ungated:8d")
    assert (outcome.metric, outcome.maximize) == ("rmse", False)
    assert standing is not None
    assert standing.against_never.low > 0


def test_more_than_two_classes_are_replayed_and_one_that_nobody_knew_is_answered_with_zero() -> None:
    table = history()
    labels = table.column("label").to_numpy(zero_copy_only=False).astype(object)
    labels[::4] = "maybe"
    labels[-5:] = "what"
    table = table.set_column(4, "label", pa.array(labels))
    spec = model(task="multiclass", families=["linear"])
    simulated = simulate(spec, table, contender_named("scheduled-ungated:16d"), ask())
    assert simulated.prediction.shape[1] == 4
    assert np.allclose(simulated.prediction[:, :2].sum(axis=1) + simulated.prediction[:, 3], 1.0)
    assert not simulated.prediction[:, 2].any()  # what
    assert simulated.run.counted.promoted >= 1


def test_rows_without_a_label_are_answered_and_not_scored(table: pa.Table) -> None:
    labels = table.column("label").to_pylist()
    labels[-100:] = [None] * 100
    outcome = simulate(model(), table.set_column(4, "label", pa.array(labels)), contender_named("never"), ask())
    assert sum(one.rows for one in outcome.run.periods) == len(outcome.prediction) - 100


def test_a_page_shows_the_policies_and_lets_no_text_be_markup(result: BacktestResult) -> None:
    odd = dataclasses.replace(result.runs[1], name="<script>alert(1)</script>")
    page = backtest_page(dataclasses.replace(result, runs=(result.runs[0], odd)))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert page.count("* plotly.js v") == 1


async def test_the_page_is_drawn_to_a_file(agent: Any, result: BacktestResult, tmp_path: Path) -> None:
    path = await agent.draw_backtest(result, tmp_path / "page.html")
    assert f"Take {result.recommended}" in path.read_text()
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(InvalidRequest, match="there is no folder"):
        await agent.draw_backtest(result, tmp_path / "none" / "page.html")


def test_a_result_is_plain_json(result: BacktestResult) -> None:
    read = json.loads(json.dumps(plain(result)))
    assert [run["name"] for run in read["runs"]] == ["never", "balanced:champion", "scheduled-ungated:8d"]


async def test_the_model_of_the_store_is_replayed_on_a_file(agent: Any, table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    pq.write_table(table, path)
    await agent.register_model(model(data=str(path)))
    outcome = await agent.backtest_model("power", str(path), DELAY, [], step="48h")
    assert [run.name for run in outcome.runs] == ["never"]
    (process,) = await agent.processes("power")
    assert (process.kind, process.status, process.stage) == ("backtest", "succeeded", "replay")
    assert decode(BacktestResult, process.result) == outcome
    assert "nobody" in str((await agent.backtest_model("nobody", None, DELAY)).error)
    gone = await agent.backtest_model("power", str(tmp_path / "none.parquet"), DELAY)
    assert "none.parquet" in str(gone.error)
    strange = Contender("mine", dataclasses.replace(ask("balanced:champion").policies[1].policy, gates={"rmse_max": 1}))
    refused = await agent.backtest_model("power", None, DELAY, [strange])
    assert "policy 'mine': gates: rmse" in str(refused.error)
    assert "unknown argument colour" in str((await agent.backtest_model("power", None, DELAY, colour="red")).error)
    own = await agent.backtest_model("power", None, DELAY, [], step="48h")
    assert [run.metric for run in own.runs] == [run.metric for run in outcome.runs]


async def test_one_that_was_asked_for_is_run_from_the_queue(agent: Any, table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    pq.write_table(table, path)
    await agent.register_model(model(data=str(path)))
    queued = await agent.submit(BacktestModel("power", FileSource(str(path)), ask()))
    await agent.run_queued(queued.process_id)
    assert (await agent.process(queued.process_id)).result["model_id"] == "power"


def test_policies_come_by_name_and_from_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("triggers: [schedule]\nevery: 10d\naction: full\n")
    outcome = contenders_from(f"balanced, {path}")
    assert [one.name for one in outcome] == ["balanced", "mine"]
    assert outcome[1].policy is not None
    assert outcome[1].policy.every == "10d"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("triggers: [sometimes]", "mine.yaml: triggers"),
        ("every: 10d", "mine.yaml: .*go together"),
        ("when: now", "unknown field when"),
        ("[1, 2]", "holds the fields of a policy"),
        ("", "holds the fields of a policy"),
        ("a: b: c", "cannot be read as a policy"),
    ],
    ids=["trigger", "rule", "field", "list", "empty", "torn"],
)
def test_a_file_that_is_no_policy_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=said):
        contender_from(str(path))


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"none\.yaml: cannot be read"):
        contender_from("none.yaml")
    with pytest.raises(InvalidRequest, match="unknown policy 'sometimes'; one of"):
        contenders_from("sometimes")
    with pytest.raises(InvalidRequest, match="at least one name"):
        contenders_from(" , ")


def test_a_history_that_cannot_be_replayed_is_refused(table: pa.Table) -> None:
    def assert_refused(
        error: type[Exception], said: str, spec: ModelSpec, rows: pa.Table = table, asked: BacktestAsk | None = None
    ) -> None:
        with pytest.raises(error, match=said):
            run_backtest(spec, rows, asked or ask("balanced:champion"), SequentialWorkers())

    numbered = table.set_column(0, "at", pa.array(np.arange(table.num_rows)))
    alone = table.set_column(4, "label", pa.array(["yes"] * table.num_rows))
    at_first = table.set_column(4, "label", pa.array(["yes"] * 1500 + table.column("label").to_pylist()[1500:]))
    named = table.append_column("version", table.column("a"))
    assert_refused(InvalidRequest, "needs a time_column of dates", model(time_column=None))
    assert_refused(InvalidRequest, "'at' holds numbers", model(), numbered)
    assert_refused(InvalidData, "no rows", model(), table.slice(0, 0))
    assert_refused(InvalidData, "no column 'label'", model(), table.drop_columns(["label"]))
    assert_refused(InvalidData, "every row is of the class 'yes'", model(), alone)
    assert_refused(InvalidData, "no first version: .*one class|no first version: .*of the class", model(), at_first)
    assert_refused(InvalidRequest, "version are names of what is recorded", model(), named)
    assert_refused(InvalidRequest, "no label is known", model(), table, BacktestAsk((), "400d"))
    assert_refused(InvalidRequest, "no step is left", model(), table, ask(start="2030-01-01"))
    assert_refused(InvalidRequest, "no step is left", model(), table, ask(start="2019-01-01"))
    assert_refused(InvalidRequest, "no step is left", model(), table, ask(step="52w"))
    assert_refused(InvalidData, "no first version", model(), table.slice(0, 30), BacktestAsk((), "1h", step="1h"))


def test_each_policy_is_replayed_with_each_seed_and_the_intervals_hold_their_spread(table: pa.Table) -> None:
    spec = model(families=["random_forest"])
    outcome = run_backtest(spec, table, ask("scheduled-ungated:16d", seeds=2), SequentialWorkers())
    never, scheduled = outcome.runs
    assert outcome.seeds == 2
    assert [path.seed for path in scheduled.paths] == [0, 1]
    assert len({path.metric for path in never.paths}) == 2
    assert never.metric == pytest.approx(np.mean([path.metric for path in never.paths]))
    alone = run_backtest(spec, table, ask("scheduled-ungated:16d", seed=1), SequentialWorkers())
    assert alone.run("never").metric == never.paths[1].metric
    assert not alone.run("never").paths
    assert any("one seed" in note for note in alone.notes)
    assert not any("one seed" in note for note in outcome.notes)
    headings, rows = policies_table(outcome)
    assert rows[1][headings.index("promoted")] == "1"


def test_what_waits_in_shadow_for_a_person_is_promoted_once_it_is_proved(long_table: pa.Table) -> None:
    policy = RetrainingPolicy(
        (Trigger.SCHEDULE,), Action.SHADOW, every="10d", optimization_type=OptimizationType.RETRAIN
    )
    outcome = simulate(model(), long_table, Contender("mine", policy), ask(start=0.25))
    promoted = [run for run in outcome.run.runs if run.promoted]
    assert promoted
    assert all(run.promoted_at is not None and run.promoted_at > run.at + 7 * 86_400 for run in promoted)
    assert any("as by a person" in note for note in outcome.run.notes)


def test_a_rollout_that_could_not_end_is_not_begun_and_the_run_says_so(table: pa.Table) -> None:
    policy = RetrainingPolicy(
        (Trigger.SCHEDULE,),
        Action.FULL,
        every="8d",
        optimization_type=OptimizationType.RETRAIN,
        rollout={"min_rows": 40_000, "max_duration_s": 86_400.0 * 20},
    )
    outcome = simulate(model(), table, Contender("mine", policy), ask())
    passed = [run for run in outcome.run.runs if run.verdict == "pass"]
    assert passed
    assert not any(run.promoted or run.rollout for run in passed)
    assert all("could not end" in str(run.said) for run in passed)
