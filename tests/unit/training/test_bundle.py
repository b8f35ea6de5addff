"""Bundles: what is saved predicts the same, and what is not as it was saved is never loaded."""

import dataclasses
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import Conflict, CorruptBundle, InvalidData, InvalidRequest
from optagent.training.bundle import bundle_digest, load_bundle, save_bundle, verify_bundle
from optagent.training.encoding import Schema, fit_schema, load_data
from optagent.training.families.family import FittedModel
from optagent.training.families.registry import FAMILIES, family_named
from optagent.training.pyfunc import _load_pyfunc

TARGETS = {
    Task.BINARY: lambda n: ["no" if value < 0.5 else "yes" for value in n],
    Task.MULTICLASS: lambda n: [int(value * 3) for value in n],
    Task.REGRESSION: lambda n: [value * 10 for value in n],
}


def table(task: Task, rows: int = 300) -> pa.Table:
    numbers = np.random.default_rng(3).random(rows)
    return pa.table(
        {
            "amount": pa.array([None if i % 17 == 0 else value for i, value in enumerate(numbers)]),
            "count": pa.array((numbers * 40).astype(np.int64)),
            "city": pa.array([("Bern", "Rome", None, "Oslo")[i % 4] for i in range(rows)]),
            "label": pa.array(TARGETS[task](numbers)),
        }
    )


def train_model(task: Task, family: str) -> tuple[FittedModel, Schema]:
    spec = ModelSpec("churn", task, FileSource("x.csv"), "label")
    rows = table(task)
    schema = fit_schema(rows, spec)
    data = load_data(rows, schema)
    fit = family_named(family).start({}, data, np.arange(len(data)), seed=1)
    fit.advance(5)
    return fit.model(), schema


def facts(task: Task) -> dict[str, object]:
    return {
        "model_id": "churn",
        "task": task,
        "params": {"learning_rate": 0.1},
        "rounds": 5,
        "created_at": 12.5,
        "data": {"rows": 300, "digest": "ab"},
    }


def save_model(folder: Path, task: Task = Task.BINARY, family: str = "lightgbm") -> Path:
    model, schema = train_model(task, family)
    save_bundle(folder, model, family, schema, facts(task))
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("bundles") / "churn")


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "churn"))


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("task", list(Task))
def test_a_loaded_bundle_scores_bit_for_bit_as_the_model_that_was_saved(
    tmp_path: Path, task: Task, family: str
) -> None:
    assert FAMILIES[family].supports(task)
    model, schema = train_model(task, family)
    save_bundle(tmp_path / "b", model, family, schema, facts(task))
    predictor = load_bundle(tmp_path / "b")
    x = load_data(table(task), schema).x
    assert predictor.scores(x).tobytes() == model.predict(x).tobytes()
    assert predictor.schema == schema
    assert predictor.probabilities(table(task)).tobytes() == model.predict(x).tobytes()


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS])
def test_a_classifier_answers_labels_of_the_targets_type_and_probabilities_that_sum_to_one(
    tmp_path: Path, task: Task
) -> None:
    rows = table(task)
    answer = load_bundle(save_model(tmp_path / "b", task)).predict(rows)
    classes = sorted(set(rows["label"].to_pylist()))
    assert answer.column_names == ["prediction", *(f"probability_{label}" for label in classes)]
    probabilities = np.column_stack([answer[name].to_numpy() for name in answer.column_names[1:]])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert answer["prediction"].to_pylist() == [classes[i] for i in probabilities.argmax(axis=1)]
    agreement = np.mean(np.array(answer["prediction"].to_pylist()) == np.array(rows["label"].to_pylist()))
    assert agreement > 0.8


@pytest.mark.parametrize("classes", [(False, True), (0, 1), (1, 0), ("0", "1")])
def test_labels_keep_their_type_and_order(tmp_path: Path, classes: tuple[bool | int | str, ...]) -> None:
    model, schema = train_model(Task.BINARY, "lightgbm")
    schema = dataclasses.replace(schema, classes=classes)
    save_bundle(tmp_path / "b", model, "lightgbm", schema, facts(Task.BINARY))
    predictor = load_bundle(tmp_path / "b")
    answer = predictor.predict(table(Task.BINARY))
    expected = [classes[int(p >= 0.5)] for p in predictor.probabilities(table(Task.BINARY))]
    assert [repr(label) for label in answer["prediction"].to_pylist()] == [repr(label) for label in expected]
    assert [repr(label) for label in predictor.manifest.classes] == [repr(label) for label in classes]


def test_a_regression_answers_values_only(tmp_path: Path) -> None:
    answer = load_bundle(save_model(tmp_path / "b", Task.REGRESSION)).predict(table(Task.REGRESSION))
    assert answer.column_names == ["prediction"]


def test_a_data_frame_is_answered_with_a_data_frame_of_the_same_index(bundle: Path) -> None:
    rows = table(Task.BINARY)
    frame = rows.to_pandas().drop(columns="label")
    frame.index = pd.Index([f"row {i}" for i in range(len(frame))])
    frame["unused"] = [object()] * len(frame)
    predictor = load_bundle(bundle)
    answer = predictor.predict(frame)
    assert list(answer.index) == list(frame.index)
    assert (
        answer["probability_yes"].to_numpy().tobytes()
        == predictor.predict(rows)["probability_yes"].to_numpy().tobytes()
    )


def test_rows_without_a_feature_are_refused_by_its_name(bundle: Path) -> None:
    with pytest.raises(InvalidData, match="city"):
        load_bundle(bundle).predict(pd.DataFrame({"amount": [1.0], "count": [2]}))


def test_a_column_of_mixed_types_is_refused(bundle: Path) -> None:
    with pytest.raises(InvalidData, match="city"):
        load_bundle(bundle).predict(pd.DataFrame({"amount": [1.0, 2.0], "count": [2, 3], "city": ["Bern", 5]}))


def test_the_pyfunc_answers_one_record_and_lists_of_records_as_it_answers_a_table(bundle: Path) -> None:
    records = table(Task.BINARY).drop_columns("label").to_pylist()[:5]
    model = _load_pyfunc(str(bundle))
    expected = model.predict(pd.DataFrame(records))
    assert model.predict(records, params=None).equals(expected)
    assert model.predict(table(Task.BINARY).slice(0, 5)).equals(expected)
    assert model.predict({name: [record[name] for record in records] for name in records[0]}).equals(expected)
    assert model.predict(records[1]).iloc[0].equals(expected.iloc[1])


def test_the_manifest_says_what_the_model_is_and_lists_every_other_file(bundle: Path) -> None:
    manifest = verify_bundle(bundle)
    assert (manifest.model_id, manifest.task, manifest.family, manifest.rounds) == ("churn", "binary", "lightgbm", 5)
    assert manifest.classes == ("no", "yes")
    assert manifest.features == ("amount", "count", "city")
    assert manifest.data == {"rows": 300, "digest": "ab"}
    assert manifest.libraries["lightgbm"]
    on_disk = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert set(manifest.files) == on_disk - {"manifest.json"}


def test_a_bundle_that_does_not_tell_its_newest_row_is_read_and_one_that_does_keeps_it(bundle: Path) -> None:
    assert load_bundle(bundle).manifest.trained_until is None
    content = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**content, "trained_until": 1.7e9}))
    assert load_bundle(bundle).manifest.trained_until == 1.7e9
    del content["trained_until"]  # as bundles of earlier versions
    (bundle / "manifest.json").write_text(json.dumps(content))
    assert load_bundle(bundle).manifest.trained_until is None


def test_equal_models_have_equal_digests_and_the_time_of_making_counts(tmp_path: Path) -> None:
    model, schema = train_model(Task.BINARY, "lightgbm")
    digests = [
        save_bundle(tmp_path / name, model, "lightgbm", schema, {**facts(Task.BINARY), "created_at": at})
        for name, at in (("a", 1.0), ("b", 1.0), ("c", 2.0))
    ]
    assert digests[0] == digests[1] != digests[2]
    assert bundle_digest(tmp_path / "a") == digests[0]


def rewrite_manifest(bundle: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads((bundle / "manifest.json").read_bytes())
    change(content)
    (bundle / "manifest.json").write_text(json.dumps(content))


def test_one_altered_byte_anywhere_is_found_and_the_file_is_named(original: Path, bundle: Path) -> None:
    digest = bundle_digest(original)
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for position in (0, len(content) // 2, len(content) - 1):
            altered = bytearray(content)
            altered[position] ^= 1
            path.write_bytes(altered)
            with pytest.raises(CorruptBundle, match=path.name):
                load_bundle(bundle, digest)
        path.write_bytes(content)
    load_bundle(bundle, digest)


def test_a_truncated_file_is_refused(bundle: Path) -> None:
    path = bundle / "model" / "model.txt"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptBundle, match=r"model\.txt"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["schema.json", "manifest.json", "model/model.txt"])
def test_a_missing_file_is_refused_by_name(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(CorruptBundle, match=Path(name).name):
        verify_bundle(bundle)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptBundle, match="nowhere"):
        verify_bundle(tmp_path / "nowhere")


def test_an_extra_file_is_refused_by_name(bundle: Path) -> None:
    (bundle / "model" / "extra.txt").write_text("x")
    with pytest.raises(CorruptBundle, match=r"extra\.txt: not listed"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["schema.json", "manifest.json", "model"])
def test_a_link_in_the_place_of_a_file_or_folder_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    (bundle / name).rename(tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptBundle, match=name):
        verify_bundle(bundle)


def test_a_named_pipe_is_refused_without_being_opened(bundle: Path) -> None:
    os.mkfifo(bundle / "model" / "pipe.txt")
    with pytest.raises(CorruptBundle, match=r"pipe\.txt"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname", "model/../schema.json", "model\\x.txt", "C:x.txt"])
def test_a_path_that_leaves_the_folder_is_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "outside.txt").write_text("x")
    rewrite_manifest(bundle, lambda content: content["files"].update({name: {"sha256": "0", "size": 1}}))
    with pytest.raises(CorruptBundle, match="not a plain path"):
        verify_bundle(bundle)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", 2, "format 2 is unknown"),
        ("format", None, "format None is unknown"),
        ("family", "torch", "torch"),
        ("task", "ranking", "task"),
        ("surprise", 1, "surprise"),
        ("files", {}, r"schema\.json"),
        ("files", {"schema.json": {"sha256": "0"}}, "size"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused(bundle: Path, field: str, value: object, message: str) -> None:
    rewrite_manifest(bundle, lambda content: content.update({field: value}))
    with pytest.raises(CorruptBundle, match=message):
        verify_bundle(bundle)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_a_manifest_that_is_no_mapping_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    with pytest.raises(CorruptBundle, match=r"manifest\.json"):
        verify_bundle(bundle)


class Leaky:
    """A model that saves what no bundle may hold."""

    def __init__(self, name: str, content: bytes) -> None:
        self._name, self._content = name, content

    def save(self, folder: Path) -> None:
        (folder / self._name).write_bytes(self._content)


def archive_with(tmp_path: Path, name: str, content: bytes) -> bytes:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, content)
    return (tmp_path / "a.zip").read_bytes()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_saved_under_any_name(tmp_path: Path, protocol: int) -> None:
    _, schema = train_model(Task.BINARY, "lightgbm")
    content = pickle.dumps({"a": 1}, protocol=protocol)
    for name, data in {
        "model.pkl": content,
        "model.joblib": b"x",
        "model.txt": content,
        "model.skops": archive_with(tmp_path, "array.npy", content),
        "other.skops": archive_with(tmp_path, "inner.pkl", b"x"),
    }.items():
        with pytest.raises(CorruptBundle, match=name):
            save_bundle(tmp_path / "b", Leaky(name, data), "lightgbm", schema, facts(Task.BINARY))  # type: ignore[arg-type]
        assert not (tmp_path / "b").exists()


class Exploding:
    def save(self, folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise OSError("disk full")


def test_a_save_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    _, schema = train_model(Task.BINARY, "lightgbm")
    with pytest.raises(OSError, match="disk full"):
        save_bundle(tmp_path / "b", Exploding(), "lightgbm", schema, facts(Task.BINARY))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(bundle: Path) -> None:
    model, schema = train_model(Task.BINARY, "lightgbm")
    with pytest.raises(Conflict, match="exists already"):
        save_bundle(bundle, model, "lightgbm", schema, facts(Task.BINARY))


def test_facts_that_are_missing_unknown_or_contradict_the_schema_are_refused(tmp_path: Path) -> None:
    model, schema = train_model(Task.BINARY, "lightgbm")
    good = facts(Task.BINARY)
    for bad, message in (
        ({name: value for name, value in good.items() if name != "rounds"}, "rounds"),
        ({**good, "colour": "red"}, "colour"),
        ({**good, "task": Task.REGRESSION}, "regression"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            save_bundle(tmp_path / "b", model, "lightgbm", schema, bad)
    with pytest.raises(InvalidRequest, match="torch"):
        save_bundle(tmp_path / "b", model, "torch", schema, good)
