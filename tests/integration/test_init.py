"""`optagent init`: a file of rows becomes a model.yaml that registers as it is, and bad input leaves nothing."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from optagent.adapters.datasets import FileDatasets
from optagent.agent.outline import describe_model
from optagent.errors import Conflict, InvalidData, InvalidRequest

DATASETS = FileDatasets(row_limit=10_000_000)
ROWS = 1200


@pytest.fixture
def frame() -> pd.DataFrame:
    """Rows of a churn model, with all that a newcomer's file has and should not have."""
    rng = np.random.default_rng(0)
    usage = rng.normal(size=ROWS)
    churned = usage + rng.normal(size=ROWS) > 0
    return pd.DataFrame(
        {
            "customerID": [f"c{number}" for number in range(ROWS)],
            "account_id": rng.integers(0, 300, ROWS),
            "signed_up": pd.date_range("2020-01-01", periods=ROWS, freq="D"),
            "sex": rng.choice(["f", "m"], ROWS),
            "usage": usage,
            "churn_date": np.where(churned, "2024-02-03", None),
            "score_after": churned + rng.normal(scale=0.01, size=ROWS),
            "churn_hint": rng.normal(size=ROWS),
            "constant": 1,
            "seen": rng.choice(["2024-01-31", "31.01.2024", "01/31/2024"], ROWS),
            "amount": usage * 3 + rng.normal(size=ROWS),
            "kind": rng.choice(["a", "b", "c"], ROWS),
            "churned": np.where(churned, "yes", "no"),
        }
    )


def describe(folder: Path, frame: pd.DataFrame, target: str = "churned", name: str = "rows.parquet", **options: Any):
    path = folder / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    return describe_model("churn", str(path), target, folder / "model.yaml", DATASETS, **options)


def fields(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "model.yaml").read_text())


@pytest.mark.parametrize(
    ("target", "task"), [("churned", "binary"), ("kind", "multiclass"), ("amount", "regression"), ("sex", "binary")]
)
@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
async def test_the_file_registers_without_a_change(tmp_path, frame, agent, target, task, name):
    describe(tmp_path, frame, target, name)
    spec = await agent.register_model(tmp_path / "model.yaml")
    assert (str(spec.task), spec.target, spec.time_column) == (task, target, "signed_up")


def test_each_column_has_its_part_and_its_reason(tmp_path, frame):
    outline = describe(tmp_path, frame)
    assert set(fields(tmp_path)["ignore"]) == {"customerID", "churn_date", "score_after", "constant", "seen"}
    assert [remark.column for remark in outline.suspects] == ["churn_hint"]
    assert [remark.column for remark in outline.sensitive] == ["sex"]
    assert [remark.column for remark in outline.entities] == ["account_id"]
    text = (tmp_path / "model.yaml").read_text()
    for comment in (
        "customerID  # each of the 1,200 rows has another value: an id",
        "score_after  # tells the target almost alone (auc",
        "# entity: account_id",
        "#   - sex  # suggests sex",
        "# label_horizon: 30d",
        "the positive class is yes",
    ):
        assert comment in text
    assert "sensitive_columns" not in fields(tmp_path)


def test_two_columns_that_tell_the_target_together_are_proposed_in_a_comment(tmp_path):
    rng = np.random.default_rng(3)
    late, due = rng.random(1200) < 0.4, rng.normal(100, 30, 1200)
    first = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, 1200), "D")
    frame = pd.DataFrame(
        {
            "time": first,
            "due": due,
            "paid": due + np.where(late, -1, 1) * rng.uniform(1, 9, 1200),
            "begin_date": first,
            "end_date": first + pd.to_timedelta(np.where(late, 40, 5) + rng.integers(0, 9, 1200), "D"),
            "other": rng.normal(size=1200),
            "late": np.where(late, "yes", "no"),
        }
    )
    outline = describe(tmp_path, frame, "late")
    assert (outline.time_column, len(outline.suspects)) == ("time", 2)
    numbers, dates = outline.suspects
    assert {numbers.column, dates.column} & {"due", "paid"}
    assert {numbers.column, dates.column} & {"begin_date", "end_date"}
    assert "tells the target almost alone (auc" in numbers.reason
    assert "ignore" not in fields(tmp_path)


def test_two_strong_columns_without_a_leak_are_left_alone(tmp_path):
    rng = np.random.default_rng(4)
    label = rng.random(2000) < 0.5
    frame = pd.DataFrame({name: label * 2.0 + rng.normal(size=2000) for name in "abcdef"})
    outline = describe(tmp_path, frame.assign(label=np.where(label, "yes", "no")), "label")
    assert outline.suspects == ()


def test_dates_in_three_forms_are_named_and_are_no_time_column(tmp_path, frame):
    outline = describe(tmp_path, frame.drop(columns=["signed_up"]))
    (remark,) = outline.unusable_times
    assert remark.column == "seen"
    assert all(form in remark.reason for form in ("3 forms", "2024-01-31", "31.01.2024", "01/31/2024"))
    assert "time_column" not in fields(tmp_path)


def test_a_date_of_birth_is_not_the_time_of_a_row(tmp_path, frame):
    renamed = frame.rename(columns={"signed_up": "birth_date"})
    outline = describe(tmp_path, renamed)
    assert outline.time_column is None
    assert "# time_column: birth_date" in (tmp_path / "model.yaml").read_text()


def test_the_index_of_a_pandas_frame_is_named_as_not_read(tmp_path, frame):
    outline = describe(tmp_path, frame.set_index(np.random.default_rng(1).permutation(ROWS)))
    assert [remark.column for remark in outline.left_out] == ["__index_level_0__"]


def test_ten_thousand_columns_are_looked_at_in_a_sample_of_rows_and_judged_right(tmp_path):
    rng = np.random.default_rng(0)
    rows, columns = 2600, 10_000
    wide = pd.DataFrame(rng.normal(size=(rows, columns)).astype("f4"), columns=[f"f{at}" for at in range(columns)])
    wide["f7"] = 3.0
    wide["f8"] = np.r_[np.zeros(rows - 1), 1.0]  # a constant in most samples
    target = pd.DataFrame({"label": (wide["f1"] > 0).astype(int)})
    outline = describe(tmp_path, pd.concat([wide, target], axis=1), "label")
    assert outline.looked_at < outline.rows
    assert fields(tmp_path)["ignore"] == ["f7", "f1"]


def test_a_rare_class_is_looked_at_in_full(tmp_path):
    rng = np.random.default_rng(0)
    rows = 120_000
    label = np.zeros(rows, int)
    label[rng.choice(rows, 200, replace=False)] = 1
    frame = pd.DataFrame({"leak": label * 2.5, "noise": rng.normal(size=rows), "label": label})
    describe(tmp_path, frame, "label")
    assert fields(tmp_path)["ignore"] == ["leak"]


def test_columns_named_like_yaml_stay_columns(tmp_path):
    rng = np.random.default_rng(0)
    names = ["yes", "a: b", "# c", "- d", "é\n{", "'\"", "y", "target "]
    frame = pd.DataFrame({name: rng.integers(0, 2, 200) * 1 for name in names})
    outline = describe(tmp_path, frame, "y")
    assert fields(tmp_path)["target"] == "y"
    assert outline.columns == len(names)


def test_a_model_of_leaks_alone_still_has_features(tmp_path):
    label = np.random.default_rng(0).integers(0, 2, 400)
    describe(tmp_path, pd.DataFrame({"leak": label * 1.5, "label": label}), "label")
    assert "ignore" not in fields(tmp_path)
    assert "#   - leak  # tells the target almost alone" in (tmp_path / "model.yaml").read_text()


REFUSED = {
    "no such target": ({}, "chruned", "no column 'chruned'; the columns are ['churned'"),
    "one class": ({"churned": "yes"}, "churned", "every row is of the class 'yes', a model needs rows of two at least"),
    "no value": ({"churned": None}, "churned", "name another column by --target"),
    "an id": ({}, "customerID", "different texts on 1,200 rows are no classes"),
    "a date": ({}, "signed_up", "is neither a class nor a number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_target_that_cannot_be_learned_is_refused_and_nothing_is_written(tmp_path, frame, name):
    change, target, message = REFUSED[name]
    with pytest.raises(InvalidData) as caught:
        describe(tmp_path, frame.assign(**change), target)
    assert message in str(caught.value)
    assert os.listdir(tmp_path) == ["rows.parquet"]


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("")
    with pytest.raises(InvalidData, match=r"rows\.csv: the file is empty"):
        describe_model("churn", str(tmp_path / "rows.csv"), "y", tmp_path / "model.yaml", DATASETS)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_a_file_without_rows_is_refused(tmp_path, frame, name):
    with pytest.raises(InvalidData, match="no row"):
        describe(tmp_path, frame.iloc[:0], name=name)


def test_a_file_that_is_there_is_replaced_with_force_only(tmp_path, frame):
    (tmp_path / "model.yaml").write_text("mine")
    with pytest.raises(Conflict, match="--force replaces it"):
        describe(tmp_path, frame)
    assert (tmp_path / "model.yaml").read_text() == "mine"
    describe(tmp_path, frame, force=True)
    assert fields(tmp_path)["id"] == "churn"


def test_a_folder_that_cannot_be_written_is_named_before_the_rows_are_read(tmp_path, frame, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write to any folder
    with pytest.raises(InvalidRequest, match="cannot be written: give another by --out"):
        describe_model("churn", str(tmp_path / "none.parquet"), "y", tmp_path / "model.yaml", DATASETS)


def test_a_folder_that_is_not_there_is_named(tmp_path, frame):
    frame.to_parquet(tmp_path / "rows.parquet")
    out = tmp_path / "nowhere" / "model.yaml"
    with pytest.raises(InvalidRequest, match="there is no folder"):
        describe_model("churn", str(tmp_path / "rows.parquet"), "churned", out, DATASETS)


def test_an_id_that_is_none_is_refused(tmp_path, frame):
    with pytest.raises(InvalidRequest, match="such as churn"):
        describe_model("a/b", "rows.parquet", "y", tmp_path / "model.yaml", DATASETS)
