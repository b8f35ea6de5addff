"""Checkup of an installation: the checks of `optagent doctor`, on the parts that the settings name.

Nothing is started, made or changed, but for an empty task on a Ray cluster that runs.
"""

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec

from optagent.adapters.cluster.ray_probe import probe_cluster
from optagent.bootstrap import model_parts, parts
from optagent.bootstrap.checkup.api import check_api
from optagent.bootstrap.checkup.home import check_disk, check_home
from optagent.bootstrap.checkup.libraries import check_libraries, check_python
from optagent.bootstrap.checkup.ray import PROBE_S, check_ray
from optagent.bootstrap.checkup.runner import LIMIT_S, Check, run_checks
from optagent.bootstrap.checkup.store import check_redis, look_at_configured, look_at_embedded
from optagent.bootstrap.checkup.tracking import check_mlflow
from optagent.domain.checkup import CheckResult, Checkup, ok
from optagent.settings import Settings


def check_installation(settings: Settings, limit_s: float = LIMIT_S) -> Checkup:
    """All results, within `limit_s` and a moment, whatever hangs."""
    return run_checks(_checks(settings), limit_s)


def _checks(settings: Settings) -> Mapping[str, Check]:
    return {
        "python": check_python,
        "libraries": check_libraries,
        "home": partial(check_home, settings.home),
        "disk": partial(check_disk, settings.home),
        "redis": partial(_check_redis, settings),
        "mlflow": partial(_check_mlflow, settings),
        "ray": partial(_check_ray, settings),
        "port": partial(_check_api, settings),
    }


def _check_redis(settings: Settings) -> list[CheckResult]:
    url = settings.redis_url
    if url is None:
        return check_redis(partial(look_at_embedded, settings.home), "the embedded server")
    return check_redis(partial(look_at_configured, url), f"{settings.redis_host}:{settings.redis_port}")


def _check_mlflow(settings: Settings) -> CheckResult:
    if find_spec("mlflow") is None:
        return ok("mlflow", "not installed: pip install 'optagent[mlflow]' adds it")
    from optagent.adapters.models.mlflow_database import check_stored_revision
    from optagent.adapters.models.mlflow_health import check_server, hide_credentials, sqlite_path

    uri = model_parts.tracking_uri(settings)

    def check() -> None:
        check_server(uri)
        path = sqlite_path(uri)
        if path is not None:
            check_stored_revision(path, model_parts.cache_folder())

    return check_mlflow(check, hide_credentials(uri))


def _check_ray(settings: Settings) -> CheckResult:
    if find_spec("ray") is None:
        return ok("ray", "not installed: pip install 'optagent[serve]' adds it")
    probe = partial(probe_cluster, own=settings.ray_address is None, limit_s=PROBE_S)
    return check_ray(settings.ray_address, _running_head(settings), probe)


def _running_head(settings: Settings) -> str | None:
    """The address of the head that `optagent up` has started on this machine, None where none runs."""
    running = None if settings.ray_address is not None else parts.head(settings).running()
    return None if running is None else running.address


def _check_api(settings: Settings) -> list[CheckResult]:
    from optagent.adapters.cluster.free_ports import is_free

    is_tls = settings.tls_certificate_file is not None
    is_up = _running_head(settings) is not None
    return check_api(settings.api_host, settings.api_port, is_tls=is_tls, is_up=is_up, is_free=is_free)
