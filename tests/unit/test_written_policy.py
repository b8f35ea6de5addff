"""A policy of a mixture is read from YAML as a user writes it, and a wrong field is refused by its name."""

from pathlib import Path

import pytest
import yaml

from optagent.backtest.run import contender_from
from optagent.codec import model_from
from optagent.domain.model import ModelSpec
from optagent.errors import InvalidRequest
from optagent.loop.train.study import check_spec

MIXED = "triggers: [growth]\naction: full\nanswer: mixture\n"


def model(policy: str) -> ModelSpec:
    fields = {"id": "churn", "task": "binary", "data": "/data/rows.parquet", "target": "label"}
    return model_from({**fields, "policy": yaml.safe_load(policy)})


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ("[champion, all, 1/4, 1/16]", ("champion", "all", "1/4", "1/16")),
        ("[champion, 90d, 12]", ("champion", "90d", "12")),
        ("\n- champion\n- 3\n- '4'", ("champion", "3", "4")),
    ],
)
def test_slots_are_a_list_in_which_versions_may_be_numbers(slots: str, expected: tuple[str, ...]) -> None:
    policy = model(f"{MIXED}slots: {slots}").policy
    assert policy is not None
    assert (policy.is_mixed, policy.slots) == (True, expected)


def test_slots_that_are_left_out_are_the_usual_ones() -> None:
    policy = model(MIXED).policy
    assert policy is not None
    assert policy.slots == ("champion", "all", "1/4", "1/16")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("slots: champion", "slots: input should be a valid tuple"),
        ("slots: [champion, true]", "slots.1: input should be a valid string, got True"),
        ("slots: [champion, 1.5]", "slots.1: input should be a valid string, got 1.5"),
        ("slots: [champion, 0]", "slots: unknown '0'; champion, all, a share such as 1/4"),
        ("slots: [champion, 12, '12']", "slots: a name stands twice"),
        ("slots: [all, 1/4]", "slots: 'champion' is needed"),
        ("slots: [champion]", "slots: a mixture has 2 to 8"),
        ("slot: [champion, all]", "unknown field slot; one of .*'slots'"),
        ("growth: often", "growth: input should be a valid number"),
        ("growth: 0", "growth must be above 0"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(line: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        model(f"{MIXED}{line}")


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("answer: both", "answer: unknown 'both'; one of"),
        ("{triggers: [growth], action: shadow, answer: mixture}", "answer: a mixture needs the action full"),
        ("{triggers: [growth], action: full}", "the trigger growth renews the slots of a mixture"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(policy: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        model(policy)


def test_a_policy_file_of_a_backtest_is_read_alike(tmp_path: Path) -> None:
    file = tmp_path / "mixed.yaml"
    file.write_text(f"{MIXED}slots: [champion, 2]", encoding="utf-8")
    policy = contender_from(str(file)).policy
    assert policy is not None
    assert policy.slots == ("champion", "2")


@pytest.mark.parametrize("policy", ["balanced", {"triggers": ["growth"], "action": "full", "answer": "mixture"}])
def test_a_mixture_is_refused_where_the_metric_asks_for_a_quantile(policy: object) -> None:
    fields = {"id": "load", "task": "regression", "data": "/data/rows.parquet", "target": "y", "metric": "pinball_90"}
    with pytest.raises(InvalidRequest, match="pinball_90 asks for a quantile"):
        check_spec(model_from({**fields, "policy": policy}))
    check_spec(model_from({**fields, "policy": {"triggers": ["degradation"]}}))
