"""The checkup of a real cluster: an empty task comes back from it, also while it has no core left."""

from typing import Any

import pytest

from optagent.adapters.cluster.ray_probe import probe_cluster

_LIMIT_S = 120.0  # of a busy machine


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_whose_cores_are_all_taken_gives_an_empty_task_back():
    import ray

    address = ray.get_runtime_context().gcs_address
    holder: Any = ray.remote(dict).options(num_cpus=2).remote()
    try:
        probe = probe_cluster(address, own=False, limit_s=_LIMIT_S)
    finally:
        ray.kill(holder)
    assert (probe.has_ray, probe.cores, probe.error) == (True, 2, "")
    assert probe.task_s is not None
