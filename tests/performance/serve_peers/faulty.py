"""A family of one's own whose versions misbehave on demand: as the file that BENCH_FAULT names says, at each answer.

Without the file it answers by its first column, so that it can be trained, judged and loaded.
"""

import os
import signal
import time
from pathlib import Path

import numpy as np

from optagent.domain.model import Task
from optagent.domain.space import Float, SearchSpace
from optagent.training.families.simple_family import SimpleFamily

HANG_S = 10.0


class Faulty(SimpleFamily):
    tasks = (Task.BINARY,)

    def space(self, task):
        return SearchSpace((Float("weight", 0.5, 2.0),))

    def fit(self, params, data, seed, threads):
        return {"weight": params["weight"]}

    def predict(self, model, x):
        fault = _fault()
        if fault == "raises":
            raise RuntimeError("this candidate raises")
        if fault == "hangs":
            time.sleep(HANG_S)
        if fault == "segfaults":
            os.kill(os.getpid(), signal.SIGSEGV)
        shares = 1 / (1 + np.exp(-model["weight"] * np.nan_to_num(x[:, 0])))
        return np.full(len(x), np.nan) if fault == "is NaN" else shares


def _fault() -> str:
    path = os.environ.get("BENCH_FAULT", "")
    try:
        return Path(path).read_text()
    except OSError:
        return ""
