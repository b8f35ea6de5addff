"""Files that were tampered with: foreign types and trees that point outside themselves are refused, never loaded."""

import copy
import json
import re
import zipfile
from fractions import Fraction

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline

from optagent.domain.model import Task
from optagent.errors import CorruptBundle
from optagent.training.families import skops_file
from optagent.training.families.registry import family_named
from optagent.training.families.xgboost_ubj import check_ubj


def _train_model(name, make_data, task=Task.BINARY):
    # Enough rows for LightGBM to split by categories.
    data = make_data(task, rows=1500 if name == "lightgbm" else 320)
    fit = family_named(name).start({}, data, np.arange(len(data)))
    fit.advance(5)
    return fit.model()


def _write_model(name, make_data, folder, task=Task.BINARY):
    _train_model(name, make_data, task).save(folder)
    (path,) = folder.iterdir()
    return path


class Foreign:
    def __init__(self):
        self.value = 1


@pytest.mark.parametrize(
    "foreign",
    [Foreign(), Fraction(1, 3), np.sin, print, copy.copy, GaussianNB(), re.compile("a")],
    ids=lambda one: type(one).__name__,
)
def test_a_foreign_type_is_refused_by_name_wherever_it_hides(foreign, tmp_path):
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    model.hidden_ = {"deep": [foreign]}
    try:
        skops.io.dump(Pipeline([("model", model)]), tmp_path / "model.skops")
    except Exception as error:
        pytest.skip(f"skops itself does not write it: {error}")
    with pytest.raises(CorruptBundle, match="no model of optagent"):
        skops_file.load(tmp_path / "model.skops")


def test_a_type_that_skops_trusts_and_we_do_not_write_is_refused(tmp_path):
    skops.io.dump(GaussianNB().fit([[0.0], [1.0]], [0, 1]), tmp_path / "model.skops")
    assert skops.io.get_untrusted_types(file=tmp_path / "model.skops") == []
    with pytest.raises(CorruptBundle, match=r"GaussianNB.* which no model of optagent holds"):
        skops_file.load(tmp_path / "model.skops")


@pytest.mark.parametrize("protocol", [0, 1, True, "2", None])
def test_an_old_or_senseless_protocol_is_refused(protocol, make_data, tmp_path):
    path = _write_model("linear", make_data, tmp_path)
    _rewrite(path, lambda schema: schema | {"protocol": protocol})
    with pytest.raises(CorruptBundle, match=r"protocol|schema"):
        skops_file.load(path)


def test_compressed_data_which_may_unpack_to_anything_is_refused(make_data, tmp_path):
    path = _write_model("linear", make_data, tmp_path)
    _rewrite(path, lambda schema: schema, zipfile.ZIP_DEFLATED)
    with pytest.raises(CorruptBundle, match="compressed"):
        skops_file.load(path)


def _rewrite(path, change, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["schema.json"] = json.dumps(change(json.loads(content["schema.json"]))).encode()
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("name", ["random_forest", "extra_trees"])
@pytest.mark.parametrize(
    ("field", "value"),
    [("left_child", 10**6), ("left_child", 0), ("right_child", -7), ("feature", 99), ("feature", -3)],
)
def test_a_forest_that_points_outside_itself_is_refused(name, field, value, make_data, tmp_path):
    forest = _train_model(name, make_data)._estimator
    tree = forest["model"].estimators_[2].tree_
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    skops_file.save(forest, tmp_path / "model.skops")
    with pytest.raises(CorruptBundle, match="points outside itself"):
        skops_file.load(tmp_path / "model.skops")


@pytest.mark.parametrize(
    ("field", "value"), [("left", 10**6), ("right", 0), ("feature_idx", 99), ("feature_idx", -1), ("bitset_idx", 50)]
)
def test_boosted_histograms_that_point_outside_themselves_are_refused(field, value, make_data, tmp_path):
    booster = _train_model("hist_gradient_boosting", make_data)._estimator
    tree = booster._predictors[1][0]
    categorical = np.flatnonzero((tree.nodes["is_leaf"] == 0) & (tree.nodes["is_categorical"] == 1))
    tree.nodes[field][categorical[0] if field == "bitset_idx" else 0] = value
    skops_file.save(booster, tmp_path / "model.skops")
    with pytest.raises(CorruptBundle, match="points outside itself"):
        skops_file.load(tmp_path / "model.skops")


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"left_child=\S+", "left_child=99999"),
        (r"right_child=\S+", "right_child=0"),
        (r"split_feature=\S+", "split_feature=77"),
        (r"leaf_value=\S+ ", "leaf_value="),
        (r"cat_boundaries=0 ", "cat_boundaries=5 "),
        (r"Tree=3\n", "Trunk\n"),
        (r"num_leaves=\d+", "num_leaves=many"),
    ],
)
def test_a_lightgbm_text_that_points_outside_itself_is_refused(pattern, replacement, make_data, tmp_path):
    path = _write_model("lightgbm", make_data, tmp_path)
    text, changes = re.subn(pattern, replacement, path.read_text(), count=1)
    assert changes == 1
    path.write_text(text)
    with pytest.raises(CorruptBundle):
        family_named("lightgbm").load(tmp_path, Task.BINARY, 2)


@pytest.mark.parametrize("task", list(Task))
def test_an_xgboost_file_cut_anywhere_is_refused_before_the_library_sees_it(task, make_data, tmp_path):
    content = _write_model("xgboost", make_data, tmp_path, task).read_bytes()
    objective = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}[task]
    classes = 3 if task is Task.MULTICLASS else 0
    check_ubj(content, (objective,), classes)
    for size in [*range(0, len(content), 997), len(content) - 1]:
        with pytest.raises(CorruptBundle):
            check_ubj(content[:size], (objective,), classes)
    with pytest.raises(CorruptBundle, match="bytes too many"):
        check_ubj(content + b"}", (objective,), classes)


@pytest.mark.parametrize("name", ["left_children", "split_indices", "categories_segments", "right_children"])
def test_an_xgboost_tree_that_points_outside_itself_is_refused(name, make_data, tmp_path):
    path = _write_model("xgboost", make_data, tmp_path)
    content = bytearray(path.read_bytes())
    start = content.index(name.encode()) + len(name)
    assert content[start : start + 1] == b"["
    kind, first = content[start + 2 : start + 3], start + 13
    size = {b"l": 4, b"L": 8, b"i": 1, b"U": 1, b"I": 2}[bytes(kind)]
    content[first : first + size] = b"\x6f" * size
    path.write_bytes(content)
    with pytest.raises(CorruptBundle, match="points outside itself"):
        family_named("xgboost").load(tmp_path, Task.BINARY, 2)
