"""Contract of every history of studies."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import pytest

from optagent.adapters.search.study_history import StudyHistory
from optagent.adapters.search.trial_storage import open_storage
from optagent.adapters.search.trial_store import RunningTrial, TrialStore
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, Int, SearchSpace
from optagent.domain.study import Objective, SearchOutcome, Study, Trial, TrialState
from optagent.errors import NotFound, Unavailable
from optagent.ports import Studies
from tests.fakes.studies import InMemoryStudies

TREES = SearchSpace((Float("rate", 0.01, 1.0, log=True), Int("leaves", 4, 64), Categorical("bins", (None, 15, 255))))
LINES = SearchSpace((Float("c", 0.01, 100.0, log=True), Categorical("penalty", ("l2",))))
COMPLETE, PRUNED, FAILED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED

Outcome = Callable[[RunningTrial], Trial]


@dataclass
class StudiesUnderTest:
    """`run` searches with random parameters and keeps what `outcome` says came of each trial."""

    studies: Studies
    run: Callable[[Study, Outcome], None]


def ran(study: Study, outcome: Outcome, store: TrialStore) -> SearchOutcome:
    trials = []
    for _ in range(study.trials):
        asked = store.ask()
        trial = outcome(asked)
        if trial.score is not None:
            store.measure(asked, 3, (trial.score, *trial.others.values()))
        store.tell(asked, trial)
        trials.append(trial)
    store.close()
    return SearchOutcome(tuple(trials))


@pytest.fixture(params=["in_memory", "optuna"])
def under_test(request: pytest.FixtureRequest, tmp_path: Path) -> StudiesUnderTest:
    if request.param == "in_memory":
        memory = InMemoryStudies()

        def run_in_memory(study: Study, outcome: Outcome) -> None:
            memory.add(study, ran(study, outcome, TrialStore(study, None)))

        return StudiesUnderTest(memory, run_in_memory)
    url = f"sqlite:///{tmp_path / 'trials.db'}"

    def run(study: Study, outcome: Outcome) -> None:
        ran(study, outcome, TrialStore(study, open_storage(url)))

    return StudiesUnderTest(StudyHistory(url), run)


def study(study_id: str = "s1", **changes) -> Study:
    spaces = {"trees": TREES}
    made = Study(study_id, "churn", Task.BINARY, "auc", True, spaces, {}, sampler="random", trials=24, transfer=False)
    return replace(made, **changes)


def by_rate(asked: RunningTrial) -> Trial:
    """The score is the learning rate; every third trial is stopped early and every seventh fails."""
    trial = Trial(asked.number, asked.family, asked.params, COMPLETE, score=asked.params["rate"])
    if asked.number % 7 == 6:
        return replace(trial, state=FAILED, score=None, error="no room")
    return replace(trial, state=PRUNED) if asked.number % 3 == 2 else trial


def by_family(asked: RunningTrial) -> Trial:
    """Two families with parameters of their own; only the trees' rate moves the score much."""
    score = 0.1 if asked.family == "lines" else asked.params["rate"]
    state = PRUNED if asked.number % 3 == 2 else COMPLETE
    return Trial(asked.number, asked.family, asked.params, state, score + 0.001 * asked.number)


def with_cost(asked: RunningTrial) -> Trial:
    """A larger rate is better and slower, to half of its range; beyond that it is slower only."""
    rate = asked.params["rate"]
    score = min(rate, 0.5)
    return Trial(asked.number, asked.family, asked.params, COMPLETE, score, others={"model_bytes": rate})


def test_a_fresh_history_is_empty_and_names_the_study_it_does_not_have(under_test: StudiesUnderTest):
    studies = under_test.studies
    assert studies.summaries() == []
    with pytest.raises(NotFound, match="'nothing'"):
        studies.study("nothing")
    with pytest.raises(NotFound, match="'nothing'"):
        studies.draw("nothing")


def test_studies_are_listed_newest_first_and_by_model(under_test: StudiesUnderTest):
    for name, model in (("a", "churn"), ("b", "fraud"), ("c", "churn")):
        under_test.run(study(name, model_id=model, trials=3), by_rate)
    studies = under_test.studies
    assert [one.study_id for one in studies.summaries()] == ["c", "b", "a"]
    assert [one.study_id for one in studies.summaries("churn")] == ["c", "a"]
    assert studies.summaries("nobody") == []


def test_a_summary_counts_trials_by_what_came_of_them(under_test: StudiesUnderTest):
    under_test.run(study(), by_rate)
    (summary,) = under_test.studies.summaries()
    assert summary.objectives == (Objective("auc", True),)
    assert dict(summary.counts) == {COMPLETE: 14, PRUNED: 7, FAILED: 3, TrialState.INFEASIBLE: 0}
    complete = [trial for trial in under_test.studies.study("s1").trials if trial.state is COMPLETE]
    assert summary.best_score == max(trial.score for trial in complete)


def test_what_is_minimised_is_best_where_it_is_least(under_test: StudiesUnderTest):
    under_test.run(study(metric="log_loss", maximize=False), by_rate)
    report = under_test.studies.study("s1")
    assert report.summary.best_score == min(trial.score for trial in report.trials if trial.state is COMPLETE)
    assert report.ranked_trials()[0].score == report.summary.best_score
    assert [trial.state for trial in report.ranked_trials()] == [COMPLETE] * 14 + [PRUNED] * 7 + [FAILED] * 3


def test_a_report_has_every_trial_as_it_ended(under_test: StudiesUnderTest):
    kept = []
    under_test.run(study(), lambda asked: kept.append(by_rate(asked)) or kept[-1])
    report = under_test.studies.study("s1")
    assert list(report.trials) == kept
    assert report.front == ()


def test_the_parameter_that_decides_is_the_most_important(under_test: StudiesUnderTest):
    under_test.run(study(trials=60), by_rate)
    importances = under_test.studies.study("s1").importances
    assert set(importances) == {"trees.rate", "trees.leaves", "trees.bins"}
    assert next(iter(importances)) == "trees.rate"
    assert list(importances.values()) == sorted(importances.values(), reverse=True)
    assert sum(importances.values()) == pytest.approx(1)


def test_parameters_of_one_family_only_have_importances(under_test: StudiesUnderTest):
    under_test.run(study(trials=80, spaces={"trees": TREES, "lines": LINES}), by_family)
    importances = under_test.studies.study("s1").importances
    assert {"trees.rate", "lines.c"} <= set(importances)
    assert importances["trees.rate"] > importances["trees.leaves"]
    assert importances.get("lines.penalty") == 0.0  # it has one value only


@pytest.mark.parametrize(
    "outcome",
    [
        lambda asked: replace(by_rate(asked), state=COMPLETE if asked.number < 3 else PRUNED, score=asked.number),
        lambda asked: replace(by_rate(asked), state=COMPLETE, score=0.5),
        lambda asked: replace(by_rate(asked), state=FAILED, score=None),
    ],
    ids=["three complete trials", "constant scores", "all failed"],
)
def test_trials_that_say_nothing_leave_importances_empty_and_are_drawn(under_test: StudiesUnderTest, outcome: Outcome):
    under_test.run(study(trials=8), outcome)
    assert under_test.studies.study("s1").importances == {}
    assert under_test.studies.draw("s1")


def test_the_front_is_what_no_other_trial_beats(under_test: StudiesUnderTest):
    others = (Objective("model_bytes", False),)
    under_test.run(study(others=others, trials=30), with_cost)
    report = under_test.studies.study("s1")
    above = [trial.params["rate"] for trial in report.trials if trial.params["rate"] >= 0.5]
    below = [trial.params["rate"] for trial in report.trials if trial.params["rate"] < 0.5]
    assert len(above) > 1
    assert [trial.params["rate"] for trial in report.front] == [min(above), *sorted(below, reverse=True)]
    assert next(iter(report.importances)) == "trees.rate"


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_study_is_drawn_without_the_network(under_test: StudiesUnderTest, count: int):
    others = tuple(Objective(f"cost{index}", False) for index in range(count))
    draw = random.Random(0)

    def outcome(asked: RunningTrial) -> Trial:
        return replace(by_rate(asked), others={one.name: draw.random() for one in others})

    under_test.run(study(others=others, study_id="<s1>"), outcome)
    page = under_test.studies.draw("<s1>")
    assert "&lt;s1&gt;" in page
    assert not re.search(r"<(script|link)[^>]*(src|href)=", page)


def test_a_page_of_plots_holds_the_script_once(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    asked_for = study(others=(Objective("model_bytes", False),))
    ran(asked_for, with_cost, TrialStore(asked_for, open_storage(url)))
    page = StudyHistory(url).draw("s1")
    assert page.count('class="plotly-graph-div"') == 4  # history, importances, slices, front
    assert page.count("* plotly.js v") == 1
    assert 4e6 < len(page.encode()) < 7e6


def test_what_others_keep_in_the_storage_is_passed_over(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    storage = open_storage(url)
    foreign = optuna.create_study(study_name="theirs", storage=storage)
    foreign.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    kept = study(trials=2)
    ran(kept, by_rate, TrialStore(kept, storage))
    optuna.load_study(study_name="s1", storage=storage).ask()  # a trial under way has no outcome yet
    history = StudyHistory(url)
    assert [one.study_id for one in history.summaries()] == ["s1"]
    assert len(history.study("s1").trials) == 2
    with pytest.raises(NotFound, match="theirs"):
        history.study("theirs")


def test_without_a_storage_there_are_no_studies():
    assert StudyHistory(None).summaries() == []


def test_a_storage_that_cannot_be_opened_is_unavailable_by_name(tmp_path: Path):
    with pytest.raises(Unavailable, match="nowhere"):
        StudyHistory(f"sqlite:///{tmp_path / 'nowhere' / 'trials.db'}").summaries()
