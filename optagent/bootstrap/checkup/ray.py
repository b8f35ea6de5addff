"""Check of Ray: the cluster of the settings, or of `optagent up`, can be reached and takes work; none is started."""

from collections.abc import Callable

from optagent.adapters.cluster.ray_cluster import START_REMEDY, find_connect_error
from optagent.adapters.cluster.ray_probe import RayProbe
from optagent.domain.checkup import CheckResult, fault, ok, warning

PROBE_S = 15.0
"""The time limit of a probe: to import Ray, to connect, and to have an empty task back."""

_LOOK = "see `ray status` and /tmp/ray/session_latest/logs there"


def check_ray(address: str | None, running: str | None, probe: Callable[[str], RayProbe]) -> CheckResult:
    """The cluster at the configured address, or the head that `optagent up` has started, `running`, if it has."""
    place = address or running
    if place is None:
        return ok("ray", "no cluster is up; one starts on this machine at need")
    restart = START_REMEDY if address else "optagent down, then optagent up"
    error = find_connect_error(place)
    if error is not None:
        return fault("ray", f"no cluster at {place}: {error}", restart)
    return judge_probe(place, probe(place), restart)


def judge_probe(place: str, probe: RayProbe, restart: str) -> CheckResult:
    """The state of the cluster at `place` by how far a probe of it came; `restart` says how it is started again."""
    if not probe.has_ray:
        message = f"{place}: whether it takes work is not known, since Ray was not loaded within {PROBE_S:g} s"
        return warning("ray", message, "this machine is busy: try again")
    if probe.error:
        remedy = f"Ray and Python must be of the cluster's versions, and the token the cluster's; {_LOOK}"
        return fault("ray", f"the cluster at {place} refuses: {probe.error}", remedy)
    if probe.cores is None:
        message = f"something listens at {place}, but no program is let in within {PROBE_S:g} s"
        return fault(
            "ray", message, f"it may want a token (RAY_AUTH_MODE=token), hang, or be no Ray cluster: {_LOOK}; {restart}"
        )
    if not probe.cores:
        return fault("ray", f"the cluster at {place} has no core to work with", "start a node with --num-cpus")
    cores = f"{probe.cores} cores, {probe.free} free"
    if probe.task_s is None:
        message = f"the cluster at {place} ({cores}) has not done an empty task within {PROBE_S:g} s"
        return fault("ray", message, f"its workers do not start (disk, memory, load): {_LOOK}; {restart}")
    return ok("ray", f"the cluster at {place} did an empty task in {probe.task_s:.1f} s; {cores}")
