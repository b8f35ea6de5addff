"""The API speaks TLS, and nothing else, where the settings name a certificate."""

import contextlib
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from optagent.adapters.cluster.serve_environment import haproxy_is_here
from optagent.bootstrap.server_certificate import check_certificate, tls_files
from optagent.errors import InvalidRequest
from optagent.settings import load_settings
from tests.e2e.test_serving import Product
from tests.tls_front import make_certificate

Files = tuple[Path, Path]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module", params=["haproxy", "serve"])
def product(
    request: pytest.FixtureRequest, certificate: Files, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """The product with a certificate, behind HAProxy or, as where there is none, behind Serve's own proxy."""
    if request.param == "haproxy" and not haproxy_is_here():
        pytest.skip("there is no HAProxy for this machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPT_AGENT_TLS_CERTIFICATE_FILE", str(certificate[0]))
        patch.setenv("OPT_AGENT_TLS_KEY_FILE", str(certificate[1]))
        if request.param == "serve":
            patch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
        product = Product(tmp_path_factory.mktemp("home"))  # it has the variables from here on
    try:
        product.up()
        yield product
    finally:
        product.end()


@pytest.mark.timeout(900)
def test_the_port_speaks_tls_with_that_certificate_and_no_other_protocol(product: Product, certificate: Files) -> None:
    assert product.api.startswith("https://")
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    with httpx.Client(base_url=product.api, verify=trusting, timeout=60) as client:
        assert client.get("/optimization/health").json()["status"] == "ok"
        assert client.get("/models", headers={"Authorization": f"Bearer {product.token}"}).json() == []
        signed_in = client.post(
            product.api.replace("/api/v1", "/dashboard/sign-in"), data={"token": product.token, "back": "/dashboard"}
        )
        assert signed_in.status_code == 303
        assert "secure" in signed_in.headers["set-cookie"].lower()
    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
        httpx.get(f"{product.api}/optimization/health", timeout=60)
    address = urlsplit(product.api)
    with socket.create_connection((address.hostname, address.port), 30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            assert not connection.recv(100).startswith(b"HTTP/1.1 3")
    _assert_plain_ports_are_local(product)


def _assert_plain_ports_are_local(product: Product) -> None:
    """No port that other machines reach answers for the API without TLS."""
    for process in psutil.Process(product.head).children(recursive=True):
        for connection in process.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.ip not in ("127.0.0.1", "::1"):
                assert not _answers_for_the_api(connection.laddr.port), connection


def _answers_for_the_api(port: int) -> bool:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/optimization/health", timeout=5)
    except httpx.TransportError:
        return False
    return "parts" in answer.text


def test_the_file_with_the_key_is_private(certificate: Files, tmp_path: Path) -> None:
    settings = load_settings(tls_certificate_file=certificate[0], tls_key_file=certificate[1])
    for _ in range(2):
        files = tls_files(settings, tmp_path)
        assert files is not None
        assert stat.S_IMODE(files.both.stat().st_mode) == 0o600
    assert files.both.read_text().count("-----BEGIN") == 2


def test_a_certificate_needs_its_key(certificate: Files, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="TLS_CERTIFICATE_FILE and OPT_AGENT_TLS_KEY_FILE need each other"):
        load_settings(tls_certificate_file=certificate[0])
    (tmp_path / "other").mkdir()
    _, other_key = make_certificate(tmp_path / "other")
    with pytest.raises(InvalidRequest, match=r"(?i)mismatch"):
        check_certificate(load_settings(tls_certificate_file=certificate[0], tls_key_file=other_key))
    with pytest.raises(InvalidRequest, match="No such file"):
        check_certificate(load_settings(tls_certificate_file=tmp_path / "none.pem", tls_key_file=other_key))


def test_on_a_cluster_of_ones_own_a_certificate_is_refused(certificate: Files) -> None:
    settings = load_settings(tls_certificate_file=certificate[0], tls_key_file=certificate[1], ray_address="auto")
    with pytest.raises(InvalidRequest, match="load balancer"):
        check_certificate(settings)
