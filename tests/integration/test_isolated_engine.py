"""Versions in processes of their own: whatever their code does, the process that answers requests goes on."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.clock import SystemClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.serving.isolated import IsolatedEngine, IsolatedLoader, ProcessLimits
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.routing import RoutingTable
from optagent.errors import Conflict, CorruptBundle, EngineFailed, Infeasible, ModelNotFound
from optagent.serving.engine import ServedModel
from optagent.training.bundle import bundle_digest, load_bundle, save_bundle
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named
from serve_app.data_plane.gateway import DataPlane
from tests.fakes.routes import InMemoryRoutes

MakeRows = Callable[..., pa.Table]

# What the children import: a registry of folders, and a family that does what the first number of a row says.
REGISTRY = """
import shutil
from optagent.domain.model import ModelVersion
from optagent.errors import ModelNotFound, Unavailable
from optagent.training.bundle import bundle_digest

class Folders:
    def __init__(self, folder): self.folder = folder
    def version(self, model_id, version):
        if not self.folder.exists(): raise Unavailable("the registry is away")
        if not (self.folder / version).exists(): raise ModelNotFound(f"{model_id} version {version}")
        return ModelVersion(model_id, version, bundle_digest(self.folder / version), 0.0)
    def fetch(self, version, into):
        target = into / version.digest[:12]
        if not target.exists(): shutil.copytree(self.folder / version.version, target)
        return target
"""
FAMILY = """
import ctypes, os, time
import numpy as np
from optagent.domain.model import Task
from optagent.domain.space import Float, SearchSpace
from optagent.training.families.simple_family import SimpleFamily
from optagent.training.families import simple_family_model

simple_family_model.finite = lambda prediction: prediction  # so that NaN comes through, as from a library

class Moody(SimpleFamily):
    tasks = (Task.REGRESSION,)
    def space(self, task): return SearchSpace((Float("share", 0.01, 1.0, log=True),))
    def fit(self, params, data, seed, threads): return {"value": 1.0}
    def predict(self, model, x):
        mood = x[0, 0]
        if mood == 1: raise ValueError("no such luck")
        if mood == 2: time.sleep(10)
        if mood == 3: return np.full(len(x), np.nan)
        if mood == 4: ctypes.string_at(0)
        if mood == 5: ctypes.PyDLL(None).sleep(10)  # with the GIL held
        if mood == 6: os.write(int(os.sys.argv[1]), b"x" * 100)
        return x[:, 0].astype(float)
"""
RAISES, SLEEPS, NAN, SEGFAULTS, HANGS, GARBAGE = range(1, 7)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_rows: MakeRows) -> Path:
    """A registry with a compiled version 1, and version 2 of a user's own family."""
    name = f"moody_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(FAMILY))
    (tmp_path / "folder_registry.py").write_text(textwrap.dedent(REGISTRY))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "folder_registry", raising=False)
    table = make_rows()
    for version, family in (("1", "lightgbm"), ("2", f"{name}:Moody")):
        schema = fit_schema(
            table.select(["a", "b", "value"]), ModelSpec("m", Task.REGRESSION, FileSource("x"), "value")
        )
        data = load_data(table, schema)
        fit = family_named(family).start({"share": 0.5} if version == "2" else {}, data, np.arange(len(data)))
        fit.advance(10)
        facts = {"model_id": "m", "task": Task.REGRESSION, "params": {}, "rounds": 10, "created_at": 0.0}
        save_bundle(tmp_path / "registry" / version, fit.model(), family, schema, facts)
    return tmp_path / "registry"


@pytest.fixture
def loader(folders: Path, tmp_path: Path) -> Iterator[IsolatedLoader]:
    loader = loader_of(folders, tmp_path, call_s=0.5)
    yield loader
    loader.close()


def loader_of(folders: Path, tmp_path: Path, call_s: float) -> IsolatedLoader:
    import folder_registry

    return IsolatedLoader(
        partial(folder_registry.Folders, folders), tmp_path / "cache", limits=ProcessLimits(60, call_s)
    )


def answer(model: ServedModel, mood: float) -> float:
    return model.answer({"a": mood, "b": 0.0})[0]["prediction"]


def engine_of(model: ServedModel) -> IsolatedEngine:
    assert isinstance(model.engine, IsolatedEngine)
    return model.engine


def test_what_compiles_is_answered_here_as_the_model_itself_answers(
    loader: IsolatedLoader, folders: Path, make_rows: MakeRows
) -> None:
    model = loader.load("m", "1")
    assert model.engine.name == "onnx", model.reason
    table = make_rows()
    predictor = load_bundle(folders / "1")
    np.testing.assert_allclose(
        model.scores(model.reader.read(table.select(["a", "b"]))), predictor.probabilities(table)
    )


def test_whatever_a_model_does_is_an_error_here_and_its_process_is_started_again(loader: IsolatedLoader) -> None:
    model = loader.load("m", "2")
    assert "has no ONNX form" in model.reason
    assert answer(model, 7.0) == 7.0
    first = engine_of(model).pid
    for mood, said in ((RAISES, "no such luck"), (NAN, "not finite")):
        with pytest.raises((EngineFailed, Infeasible), match=said):
            answer(model, mood)
        assert answer(model, 8.0) == 8.0
    assert engine_of(model).pid == first
    for mood, said in ((SLEEPS, "in time"), (SEGFAULTS, "SIGSEGV"), (GARBAGE, "limit|JSON")):
        started_at = time.monotonic()
        with pytest.raises(EngineFailed, match=said):
            answer(model, mood)
        assert time.monotonic() - started_at < 2
        with pytest.raises(EngineFailed, match="started again"):
            answer(model, 8.0)
        wait_for(lambda: engine_of(model).pid is not None)
        assert answer(model, 8.0) == 8.0
    assert engine_of(model).pid != first


def test_a_child_ends_with_its_parent_even_where_it_hangs_in_native_code(folders: Path, tmp_path: Path) -> None:
    source = f"""
import sys, threading
sys.path.insert(0, {str(tmp_path)!r})
from functools import partial
from pathlib import Path
import folder_registry
from optagent.adapters.clock import SystemClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from tests.fakes.routes import InMemoryRoutes
from optagent.adapters.serving.isolated import IsolatedLoader
if __name__ == "__main__":
    loader = IsolatedLoader(partial(folder_registry.Folders, Path({str(folders)!r})), Path({str(tmp_path / "cache")!r}))
    model = loader.load("m", "2")
    print(model.engine.pid, flush=True)
    model.answer({{"a": {HANGS}, "b": 0.0}})
"""
    parent = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_for(lambda: "S" in state(child))
    time.sleep(0.2)  # until it hangs: a child that does not is ended all the same
    parent.kill()
    parent.communicate()
    wait_for(lambda: state(child) in ("", "Z"))


def test_a_child_that_is_killed_is_started_again_without_the_registry(loader: IsolatedLoader, folders: Path) -> None:
    model = loader.load("m", "2")
    digest = bundle_digest(folders / "2")
    folders.rename(folders.with_name("away"))
    os.kill(engine_of(model).pid or 0, signal.SIGKILL)
    with pytest.raises(EngineFailed, match="SIGKILL"):
        answer(model, 7.0)
    wait_for(lambda: engine_of(model).pid is not None)
    assert answer(model, 7.0) == 7.0
    again = loader.load("m", "2", digest)  # what was fetched before serves while the registry is away
    assert answer(again, 7.0) == 7.0


def test_what_cannot_be_loaded_is_told_in_the_registry_s_words(loader: IsolatedLoader, folders: Path) -> None:
    with pytest.raises(ModelNotFound, match="version 9"):
        loader.load("m", "9")
    (folders / "2" / "schema.json").write_text("{}")
    with pytest.raises(CorruptBundle, match="altered"):
        loader.load("m", "2")


async def test_reasons_are_served_from_a_gateway_that_has_no_library_of_the_model(
    loader: IsolatedLoader, folders: Path
) -> None:
    clock, routes = SystemClock(), InMemoryRoutes(SystemClock())
    plane = DataPlane(routes, loader, InMemoryObservations(), Anyone(), clock, no_model, "g1")
    await plane.start()
    for revision, version in ((1, "1"), (2, "2")):
        await routes.stage(RoutingTable("m", revision, version))
        while not await routes.acknowledgements("m", revision):
            await asyncio.sleep(0.02)
        await routes.activate("m", revision, clock.now())
        await asyncio.sleep(0.01)
        if version == "1":
            [answer] = (await predicted(plane, {"row": {"a": 0.3, "b": None}, "explain": 1}))["predictions"]
    booster = load_bundle(folders / "1").model._booster  # type: ignore[attr-defined]
    [[*contributions, base]] = booster.predict(np.array([[0.3, np.nan]], dtype=np.float32), pred_contrib=True)
    most = int(np.argmax(np.abs(contributions)))
    assert answer["reasons"] == {
        "of": "value",
        "unit": "value",
        "base": pytest.approx(base),
        "features": [{"feature": "ab"[most], "contribution": pytest.approx(contributions[most])}],
        "others": pytest.approx(contributions[1 - most]),
        "sum": pytest.approx(answer["prediction"], abs=1e-6),
    }
    with pytest.raises(Conflict, match=r"m version 2: a model of the family .*Moody gives no reasons: lightgbm,"):
        await predicted(plane, {"row": {"a": 7.0, "b": 0.0}, "explain": 1})
    await plane.close()


async def test_the_champion_answers_whatever_the_process_of_a_candidate_does(loader: IsolatedLoader) -> None:
    clock = SystemClock()
    routes, observations = InMemoryRoutes(clock), InMemoryObservations()
    plane = DataPlane(routes, loader, observations, Anyone(), clock, no_model, "g1")
    await plane.start()
    await routes.stage(RoutingTable("m", 1, "1", "2", 0.999, None, ("1", "2"), "r1", "ramp", budget_ms=50.0))
    while not await routes.acknowledgements("m", 1):
        await asyncio.sleep(0.02)
    assert await routes.acknowledgements("m", 1) == {"g1": ""}
    await routes.activate("m", 1, clock.now())
    await asyncio.sleep(0.01)
    for mood in (RAISES, NAN, SLEEPS, SEGFAULTS):
        while (await asked(plane, 8.0))[0] != "2":  # the process is there, for the first time or again
            await asyncio.sleep(0.02)
        version, took_s = await asked(plane, mood)
        assert version == "1"
        assert took_s < 0.5
    await plane.close()
    observations.drain("m")
    [evidence] = observations.evidence("m", 0.0)
    assert sum(evidence["failed"].to_pylist()) >= 4


class Anyone:
    async def principal(
        self, authorization: str | None, scope: object, request_id: str = "", model_id: str = ""
    ) -> None:
        return None


async def no_model(model_id: str) -> ModelSpec:
    raise ModelNotFound(model_id)


async def asked(plane: DataPlane, mood: float) -> tuple[str, float]:
    """The version that answers one row, and after how many seconds."""
    started_at = time.monotonic()
    answer = await predicted(plane, {"row": {"a": mood, "b": 0.0}})
    return answer["predictions"][0]["version"], time.monotonic() - started_at


async def predicted(plane: DataPlane, body: dict[str, object]) -> dict[str, Any]:
    """The answer to a prediction request."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/v1/models/m/predict", "headers": []}
    await plane(scope, receive, send)
    return json.loads(sent[1]["body"])


def state(pid: int) -> str:
    """As the kernel has it: S for asleep, Z for ended; "" for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_for(is_so: Callable[[], bool], within_s: float = 60.0) -> None:
    until = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
