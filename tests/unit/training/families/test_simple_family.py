"""Families that users bring: how they are named, what is refused at the door, and what a search survives."""

import pickle
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.domain.study import Budget
from optagent.errors import CorruptBundle, Infeasible, InvalidRequest
from optagent.training.allowed_files import refuse_pickle
from optagent.training.bundle import bundle_digest, load_bundle, save_bundle
from optagent.training.crossfit import Crossfit
from optagent.training.encoding import FeatureColumn, Kind, Schema
from optagent.training.families import user_family
from optagent.training.families.registry import check_name, family_named
from optagent.training.metrics import metric_named
from optagent.training.problem import Data, Fold, Problem

HEAD = """
import numpy as np
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, Int, SearchSpace
from optagent.training.families.simple_family import SimpleFamily

class Mean(SimpleFamily):
    tasks = (Task.REGRESSION,)
    def space(self, task): return SearchSpace((Float("share", 0.01, 1.0, log=True),))
    def fit(self, params, data, seed, threads): return {"value": float(data.y.mean() * params["share"])}
    def predict(self, model, x): return np.full(len(x), model["value"])
"""
WriteModule = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteModule:
    """Writes a module that can be imported, and returns its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules: list[str] = []

    def write(source: str) -> str:
        name = f"own_family_{tmp_path.name}_{len(modules)}"
        (tmp_path / f"{name}.py").write_text(HEAD + textwrap.dedent(source))
        modules.append(name)
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
        return name

    return write


def rows(task: Task = Task.REGRESSION, count: int = 200) -> Data:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 2)).astype(np.float32)
    y = {
        Task.REGRESSION: x[:, 0] + 5.0,
        Task.BINARY: x[:, 0] > 0,
        Task.MULTICLASS: np.digitize(x[:, 0], [-0.5, 0.5]),
    }[task].astype(np.float64)
    return Data(x, y, ("a", "b"), task, n_classes=0 if task is Task.REGRESSION else len(np.unique(y)))


def run_search(path: str, task: Task = Task.REGRESSION, units: int = 81) -> Any:
    """One trial, as a search trains it."""
    data, family = rows(task), family_named(path)
    problem = Problem(data, (Fold(np.arange(100), np.arange(100, 200)),))
    score = metric_named("", task).score
    crossfit = Crossfit(family, family.defaults(task), problem, score, False, Budget())
    return crossfit.advance(units)


def test_a_family_is_named_by_its_path(module):
    path = f"{module('')}:Mean"
    family = family_named(path)
    assert family.name == path
    assert family_named(path) is family
    assert family.defaults(Task.REGRESSION) == {"share": pytest.approx(0.1)}
    assert run_search(path).rounds == 81


def test_an_installed_entry_point_is_named_by_its_name(module, tmp_path, monkeypatch):
    name = module("")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[optagent.families]\nmean = {name}:Mean\nlightgbm = {name}:Mean\nbroken = {name}:Nothing\n"
    )
    assert family_named("mean").name == "mean"
    assert family_named("lightgbm").rounds_per_unit == 10, "our names come first"
    with pytest.raises(InvalidRequest, match="family broken"):
        family_named("broken")
    with pytest.raises(InvalidRequest, match="'mean'"):
        family_named("no_such_family")
    user_family.user_family.cache_clear()


@pytest.mark.parametrize("name", ["torch", "a.b", ":A", "a:", "a:b:c", "a b:C", "../a:B", "a/b:C", ""])
def test_what_is_neither_a_name_nor_a_path_lists_the_known_ones(name):
    with pytest.raises(InvalidRequest, match=r"one of .*lightgbm"):
        family_named(name)


@pytest.mark.parametrize(
    ("attribute", "source", "message"),
    [
        ("Nothing", "", "has no Nothing"),
        ("Broken", "raise OSError('no disk')", "its import fails with OSError: no disk"),
        ("Broken", "raise SystemExit(3)", "its import fails with SystemExit: 3"),
        ("Broken", "import no_such_library", "there is no module 'no_such_library'"),
        ("np", "", "lacks supports, space"),
        ("Half", "class Half:\n    def space(self, task): ...", "lacks supports, defaults, start, load, rounds_per"),
        ("Needy", "class Needy(Mean):\n    def __init__(self, x): ...", "cannot be made without arguments"),
        ("Idle", "class Idle(Mean):\n    tasks = ()", "does none of"),
        ("Odd", "class Odd(Mean):\n    def space(self, task): return {'a': 1}", "must be a SearchSpace"),
        ("Empty", "class Empty(Mean):\n    def space(self, task): return SearchSpace(())", "at least one parameter"),
        ("Other", "class Other(Mean):\n    def defaults(self, task): return {'x': 1}", r"must name \['share'\]"),
        ("Far", "class Far(Mean):\n    def defaults(self, task): return {'share': 3.0}", "default 3.0 of share"),
        ("Tight", "class Tight(Mean):\n    limits = {'share': (0.1, 0.5)}", "outside its legal range"),
        ("Swapped", "class Swapped(Mean):\n    limits = {'share': (2, 1)}", r"share must be \(low, high\)"),
        ("Steps", "class Steps(Mean):\n    steps = -1", "steps must be"),
        ("Bad", "class Bad(Mean):\n    def space(self, task): return 1 / 0", "ZeroDivisionError"),
        ("Bare", "class Bare(SimpleFamily):\n    pass", "NotImplementedError"),
    ],
)
def test_a_family_that_is_not_whole_is_refused_by_its_path(module, attribute, source, message):
    path = f"{module(source)}:{attribute}"
    with pytest.raises(InvalidRequest, match=f"family {path}: .*{message}"):
        family_named(path)


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(InvalidRequest, match="no module 'no_such_package'; is its folder on PYTHONPATH"):
        family_named("no_such_package.families:Mine")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("def fit(self, *a): raise ValueError('bad')", ValueError, "bad"),
        ("def fit(self, *a): raise SystemExit(1)", RuntimeError, "asked the process to exit"),
        ("def fit(self, *a): return None", Infeasible, "returns no model"),
        ("def predict(self, model, x): return np.full(len(x), np.nan)", Infeasible, "not finite"),
        ("def predict(self, model, x): return np.zeros((len(x), 2))", Infeasible, r"shape \(100, 2\), \(100,\)"),
        ("steps = 3\n    def fit(self, *a): return iter(())", Infeasible, "yields no model, 3 were promised"),
        (
            "steps = 3\n    def fit(self, *a):\n        yield {'value': 1.0}\n        1 / 0",
            ZeroDivisionError,
            "division",
        ),
    ],
)
def test_a_trial_that_goes_wrong_says_how(module, source, error, message):
    path = f"{module(f'class Wrong(Mean):{chr(10)}    {source}')}:Wrong"
    with pytest.raises(error, match=message):
        run_search(path)


def test_probabilities_outside_0_to_1_are_refused(module):
    source = "class Odd(Mean):\n    tasks = (Task.BINARY,)\n    def predict(self, m, x): return x[:, 0] * 9"
    path = f"{module(source)}:Odd"
    with pytest.raises(Infeasible, match="outside 0 to 1"):
        run_search(path, Task.BINARY)


async def test_a_search_goes_on_beside_a_family_that_fails(agent, churn, module):
    source = "class Bad(Mean):\n    tasks = tuple(Task)\n    def fit(self, *a): raise OSError('gone')"
    path = f"{module(source)}:Bad"
    await agent.register_model({**churn, "families": [path, "linear"]})
    result = await agent.tune_hyperparameters("churn", method="random", trials=6)
    assert result.best_params["family"] == "linear"
    assert 0 < result.failed < result.trials == 6


async def test_a_model_that_names_a_broken_family_is_not_registered(agent, churn, module):
    with pytest.raises(InvalidRequest, match="has no Nothing"):
        await agent.register_model({**churn, "families": [f"{module('')}:Nothing"]})


STEPPED = """
CALLS = []
class Stepped(Mean):
    steps = 27
    def fit(self, params, data, seed, threads):
        for step in range(1, 28):
            CALLS.append(step)
            yield {"value": float(data.y.mean()) * step / 27}
"""


def test_steps_are_asked_for_only_as_far_as_the_budget_goes(module):
    name = module(STEPPED)
    family = family_named(f"{name}:Stepped")
    fit = family.start({}, rows(), np.arange(100), np.arange(100, 200))
    fit.advance(9)
    assert sys.modules[name].CALLS == [1, 2, 3]
    fit.advance(81)
    assert list(range(1, 28)) == sys.modules[name].CALLS
    assert fit.model(9).predict(rows().x)[0] == pytest.approx(rows().y[:100].mean() * 3 / 27)
    assert fit.model().predict(rows().x)[0] == pytest.approx(rows().y[:100].mean())


def test_a_fit_in_one_go_gets_a_growing_share_of_the_rows(module):
    name = module(
        "SEEN = []\nclass Counting(Mean):\n    def fit(self, params, data, seed, threads):\n"
        "        SEEN.append(len(data))\n        return super().fit(params, data, seed, threads)\n"
    )
    fit = family_named(f"{name}:Counting").start({}, rows(count=810), np.arange(810))
    for rounds in (3, 27, 27, 81):
        fit.advance(rounds)
    assert sys.modules[name].SEEN == [30, 270, 810]


@pytest.mark.parametrize("task", list(Task))
def test_a_bundle_of_an_own_family_keeps_its_path_and_predicts_the_same(module, tmp_path, task):
    source = """
    class Kept(Mean):
        tasks = tuple(Task)
        def fit(self, params, data, seed, threads):
            classes = max(2, data.n_classes) if data.task.classifies else 0
            return {"weights": np.linspace(0.1, 0.9, 2), "classes": classes, "text": "ü"}
        def predict(self, model, x):
            raw = 1 / (1 + np.exp(-(x @ model["weights"])))
            if model["classes"] > 2:
                return np.column_stack([raw / 2, raw / 2, 1 - raw])
            return raw
    """
    path = f"{module(source)}:Kept"
    data = rows(task)
    fit = family_named(path).start({}, data, np.arange(200))
    fit.advance(81)
    classes = {Task.REGRESSION: (), Task.BINARY: (0, 1), Task.MULTICLASS: (0, 1, 2)}[task]
    schema = Schema((FeatureColumn("a", Kind.NUMERIC), FeatureColumn("b", Kind.NUMERIC)), "y", task, classes)
    facts = {"model_id": "m", "task": task, "params": {}, "rounds": 81, "created_at": 1.0}
    digest = save_bundle(tmp_path / "b", fit.model(), path, schema, facts)
    predictor = load_bundle(tmp_path / "b", digest)
    assert predictor.manifest.family == path
    assert predictor.scores(data.x).tobytes() == fit.model().predict(data.x).tobytes()
    weights = next((tmp_path / "b").rglob("weights.npy"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(CorruptBundle, match=r"weights\.npy"):
        load_bundle(tmp_path / "b", digest)


def own_bundle(module: WriteModule, folder: Path) -> tuple[str, str]:
    name = module("import pathlib\npathlib.Path(__file__).with_suffix('.imported').touch()")
    path = f"{name}:Mean"
    fit = family_named(path).start({}, rows(), np.arange(200))
    fit.advance(81)
    schema = Schema((FeatureColumn("a", Kind.NUMERIC), FeatureColumn("b", Kind.NUMERIC)), "y", Task.REGRESSION)
    facts = {"model_id": "m", "task": Task.REGRESSION, "params": {}, "rounds": 81, "created_at": 1.0}
    save_bundle(folder, fit.model(), path, schema, facts)
    return name, path


def forget(name: str, path: str) -> None:
    """Makes this process one that has not imported the family."""
    user_family.user_family.cache_clear()
    user_family._RESOLVED.discard(path)
    sys.modules.pop(name)


def test_a_users_module_is_imported_only_for_a_known_digest(module, tmp_path):
    name, path = own_bundle(module, tmp_path / "b")
    forget(name, path)
    (tmp_path / f"{name}.imported").unlink()
    with pytest.raises(CorruptBundle, match=f"imports {path}: give the digest"):
        load_bundle(tmp_path / "b")
    with pytest.raises(CorruptBundle, match="was registered"):
        load_bundle(tmp_path / "b", "0" * 64)
    assert not (tmp_path / f"{name}.imported").exists()
    load_bundle(tmp_path / "b", bundle_digest(tmp_path / "b"))
    assert (tmp_path / f"{name}.imported").exists()


def test_a_family_that_is_gone_makes_a_corrupt_bundle_that_names_it(module, tmp_path):
    name, path = own_bundle(module, tmp_path / "b")
    forget(name, path)
    (tmp_path / f"{name}.py").unlink()
    with pytest.raises(CorruptBundle, match=f"family {path}: there is no module"):
        load_bundle(tmp_path / "b", bundle_digest(tmp_path / "b"))


def test_a_path_to_something_else_than_a_family_makes_a_corrupt_bundle(module, tmp_path):
    _, path = own_bundle(module, tmp_path / "b")
    manifest = tmp_path / "b" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(path, "os:system"))
    with pytest.raises(CorruptBundle, match="family os:system"):
        load_bundle(tmp_path / "b", bundle_digest(tmp_path / "b"))


def test_checking_a_name_imports_nothing():
    check_name("no_such_package.families:Mine")


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".onnx", ".safetensors", ".cbm", ".parquet"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_in_every_format_of_ones_own(tmp_path, suffix, protocol):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps({"a": [1, 2.5, "x"]}, protocol=protocol))
    with pytest.raises(CorruptBundle, match=path.name):
        refuse_pickle(path)


def test_an_array_of_objects_is_refused_and_one_of_numbers_is_not(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CorruptBundle, match="Python objects"):
        refuse_pickle(tmp_path / "objects.npy")
    np.save(tmp_path / "record.npy", np.zeros(2, dtype=[("a", object)]), allow_pickle=True)
    with pytest.raises(CorruptBundle, match="Python objects"):
        refuse_pickle(tmp_path / "record.npy")
    np.save(tmp_path / "numbers.npy", np.zeros((2, 3)), allow_pickle=False)
    refuse_pickle(tmp_path / "numbers.npy")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    refuse_pickle(tmp_path / "table.csv")


@pytest.mark.parametrize("suffix", [".pkl", ".joblib", ".pt", ".bin", ""])
def test_other_formats_are_refused(tmp_path, suffix):
    (tmp_path / f"model{suffix}").write_bytes(b"data")
    with pytest.raises(CorruptBundle, match="files only"):
        refuse_pickle(tmp_path / f"model{suffix}")
