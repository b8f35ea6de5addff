"""The gates with candidates that are loaded in processes of their own."""

import textwrap
from functools import partial

import numpy as np
import pytest

from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.adapters.serving.isolated import IsolatedLoader, ProcessLimits
from optagent.domain.dataset import FileSource
from optagent.domain.gate import Gates, Verdict
from optagent.domain.model import ModelSpec, Task
from optagent.loop.gates.bundle import CandidateBundle
from optagent.loop.gates.evaluate import judge_gates
from optagent.loop.train.holdout import HoldoutTest
from optagent.loop.train.prepare import prepare
from optagent.training.bundle import save_bundle
from optagent.training.families.registry import family_named
from optagent.training.metrics import metric_named

REGISTRY = """
    import shutil
    from optagent.domain.model import ModelVersion
    from optagent.training.bundle import bundle_digest

    class Folders:
        def __init__(self, folder): self.folder = folder
        def version(self, model_id, version):
            return ModelVersion(model_id, version, bundle_digest(self.folder / version), 0.0)
        def fetch(self, version, into):
            target = into / version.digest[:12]
            if not target.exists(): shutil.copytree(self.folder / version.version, target)
            return target
"""


@pytest.fixture
def prepared_rows(make_rows):
    spec = ModelSpec("churn", Task.BINARY, FileSource("rows"), "label", ignore=("value", "day"))
    return prepare(spec, InMemoryDatasets({"rows": make_rows(600)}))


@pytest.fixture
def candidate(prepared_rows, tmp_path):
    data = prepared_rows.problem.data
    fit = family_named("lightgbm").start({}, data, np.arange(len(data)))
    fit.advance(10)
    facts = {"model_id": "churn", "task": Task.BINARY, "params": {}, "rounds": 10, "created_at": 1.0}
    digest = save_bundle(tmp_path / "versions" / "1", fit.model(), "lightgbm", prepared_rows.schema, facts)
    return CandidateBundle(tmp_path / "versions" / "1", digest, fit.model().predict(prepared_rows.holdout.x), "1")


@pytest.fixture
def judge(importable, prepared_rows, candidate, tmp_path):
    (importable / "gate_folders.py").write_text(textwrap.dedent(REGISTRY))
    from gate_folders import Folders

    def judged_under(limits):
        loader = IsolatedLoader(partial(Folders, tmp_path / "versions"), tmp_path / "cache", limits=limits)
        try:
            test = HoldoutTest(prepared_rows, metric_named("auc", Task.BINARY), 0.05, 0)
            return judge_gates(Gates(), candidate, None, test, loader=loader)
        finally:
            loader.close()

    return judged_under


def test_a_sound_candidate_passes_from_a_process_of_its_own(judge):
    report = judge(ProcessLimits())
    assert report.verdict is Verdict.PASS
    assert report.result("security").evidence["isolated"] is True
    assert report.result("serving parity").measured < 1e-6


@pytest.mark.parametrize(
    "limits", [ProcessLimits(memory_bytes=64 * 2**20), ProcessLimits(load_s=0.05)], ids=["memory", "time"]
)
def test_a_candidate_that_needs_more_than_its_process_may_have_fails(judge, limits):
    report = judge(limits)
    assert report.verdict is Verdict.FAIL
    assert report.result("security").verdict is Verdict.FAIL
    assert report.result("servable").verdict is Verdict.INCONCLUSIVE
