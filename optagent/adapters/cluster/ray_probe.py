"""Probe of a Ray cluster: an empty task on a cluster that runs, sent by a process of its own that a time limit ends.

The process, this module run as a program, prints a line of JSON for each step that it has taken: a cluster that takes
no work leaves it hanging in the next one, and its caller knows which.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RayProbe:
    """Steps that a probe took: `task_s` is None for a task that did not come back, and `cores` where none was sent."""

    has_ray: bool = False
    cores: int | None = None
    free: int = 0
    task_s: float | None = None
    error: str = ""


def probe_cluster(address: str, own: bool, limit_s: float) -> RayProbe:
    """The probe of the cluster at `address`, at most `limit_s` seconds long; `own` as in `RayCluster`."""
    command = [sys.executable, "-m", __name__, address, *(["own"] if own else [])]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        try:
            output, _ = run.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            run.kill()
            output, _ = run.communicate()
    return read_probe(output.decode(errors="replace").splitlines())


def read_probe(lines: Sequence[str]) -> RayProbe:
    """The probe that a process has printed; what is none of its lines is left out."""
    steps: dict[str, object] = {}
    for line in lines:
        if line.startswith('{"'):
            steps |= json.loads(line)
    return RayProbe(**steps)  # type: ignore[arg-type]


def main(address: str, own: bool) -> None:
    """Connects, and waits for an empty task that needs no core, so that one on a busy cluster is taken too."""
    import ray

    from optagent.adapters.cluster.ray_cluster import RayCluster

    _print_step(has_ray=True)
    try:
        RayCluster(address, own=own).connect()
        cores, free = (int(amount.get("CPU", 0)) for amount in (ray.cluster_resources(), ray.available_resources()))  # type: ignore[no-untyped-call]
        _print_step(cores=cores, free=free)
        began_at = time.monotonic()
        ray.get(ray.remote(lambda: None).options(num_cpus=0, max_retries=0).remote())
    except Exception as error:
        return _print_step(error=f"{type(error).__name__}: {error}".splitlines()[0])
    _print_step(task_s=time.monotonic() - began_at)


def _print_step(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], own="own" in sys.argv[2:])
