"""Serving: brings the whole product up on a cluster and takes it down, for `optagent up` and `optagent down`."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from optagent.agent.acts import ActRecorder, acting_as, current_actor
from optagent.agent.tokens import new_token
from optagent.bootstrap import parts
from optagent.bootstrap.server_certificate import check_certificate, tls_files
from optagent.domain.actor import Door
from optagent.domain.token import Scope
from optagent.errors import Conflict, Unavailable
from optagent.extras import require_library
from optagent.settings import Settings

if TYPE_CHECKING:
    from optagent.adapters.cluster.ray_serving import RayServing

_APPLICATION = "serve_app.app:application"
_NAME = "optagent"
_HEALTH = "/api/v1/optimization/health"
_HEALTHY_S = 60.0
_POLL_S = 0.1
_WATCH_S, _GIVE_UP_S = 5.0, 300.0
_START_TURN_S = 300.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ServingState:
    """The addresses of what is up; `started` is False if it was up already, `dashboard` None on a foreign cluster."""

    started: bool
    cluster: str
    api: str
    dashboard: str | None = None
    notes: tuple[str, ...] = ()


class Serving:
    """Starts and stops the API, the gateways and the supervisor. Blocks, and refuses a second program meanwhile."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._head = parts.head(settings)
        self._lock = FileLock(settings.home / "up.lock")

    def up(self, say: Say = lambda step: None) -> ServingState:
        """Starts all and returns once the API answers; calls `say` at each step. Raises Conflict for a taken port, and
        Unavailable, and MissingExtra where Ray Serve is not installed."""
        for library in ("ray", "fastapi"):
            require_library(library, "the API", extra="serve")
        parts.notifier(self._settings)  # a channel that cannot be used is refused here, not by the supervisor
        check_certificate(self._settings)
        with self._lock_exclusively(), _one_start_at_a_time():
            head = None
            if self._settings.ray_address is None:
                if self._head.running() is None:
                    self._check_port()
                    say("starting Ray on this machine")
                head = self._head.start()
            address = head.address if head is not None else str(self._settings.ray_address)
            api, dashboard = self._api(address), head.dashboard if head is not None else None
            say("starting the application on Ray Serve")
            settings = self._settings
            tls = tls_files(settings, self._head.log.parent)
            started = self._application(address).start(settings.api_host, settings.api_port, settings, tls)
            if started:
                self._wait_until_healthy(api)
            return ServingState(started, address, api, dashboard, self._notes())

    def watch(self, stop: Event) -> None:
        """Looks at the API until `stop` is set; raises Unavailable once it has not been healthy for five minutes."""
        api, healthy_at = self._api(self._settings.ray_address or ""), time.monotonic()
        while not stop.wait(_WATCH_S):
            fault = _fault_of_health(api) if self._is_reachable() else ""
            now = time.monotonic()
            if not fault:
                healthy_at = now
            elif now - healthy_at > _GIVE_UP_S:
                raise Unavailable(f"the API at {api} has not been healthy for {now - healthy_at:.0f} s: {fault}")

    async def first_token(self) -> str | None:
        """The text of a new admin token, None where there are tokens already."""
        async with AsyncExitStack() as resources:
            url, clock = await asyncio.to_thread(parts.redis_url, self._settings, resources), parts.clock()
            tokens, store = parts.tokens(url), parts.store(url, self._settings)
            for port in (tokens, store):
                resources.push_async_callback(port.close)
            if await tokens.tokens():
                return None
            text, token = new_token("first", [Scope.ADMIN], None, clock.now())
            detail = {"scopes": token.scopes, "token_id": token.token_id}
            with acting_as(current_actor(Door.COMMAND_LINE)):
                await ActRecorder(store, clock).perform("token.create", token.name, tokens.create(token), detail)
            return text

    def down(self, say: Say = lambda step: None) -> bool:
        """Takes the application off the cluster and ends a Ray that `up` has started; False if nothing was up."""
        with self._lock_exclusively():
            head = self._head.running()
            address = self._settings.ray_address or (head.address if head is not None else None)
            if address is None:
                return False
            say("stopping the application")
            try:
                self._application(address).stop()
            except Unavailable as error:
                if head is None:
                    raise
                say(f"it does not answer, and is ended with its Ray: {error}")
            if head is not None and self._settings.ray_address is None:
                say("stopping Ray")
                self._head.stop()
            return True

    def _lock_exclusively(self) -> AbstractContextManager[Any]:
        parts.make_home(self._settings)
        try:
            return self._lock.acquire(timeout=1)
        except Timeout:
            raise Conflict("another `optagent up` or `optagent down` is under way") from None

    def _application(self, address: str) -> RayServing:
        from optagent.adapters.cluster.ray_serving import RayServing

        return RayServing(address, _APPLICATION, _NAME, own=self._settings.ray_address is None)

    def _check_port(self) -> None:
        from optagent.adapters.cluster.free_ports import is_free

        host, port = self._settings.api_host, self._settings.api_port
        if not is_free(host, port):
            raise Conflict(
                f"port {port} of {host} is taken: set OPT_AGENT_API_PORT to another (optagent doctor names the program)"
            )

    def _api(self, address: str) -> str:
        """The URL of the API from this machine, or at the cluster's host where it listens on all addresses."""
        host = self._settings.api_host
        if host in _ANY:
            cluster_host = address.removeprefix("ray://").rpartition(":")[0]
            host = cluster_host or "127.0.0.1"
        scheme = "http" if self._settings.tls_certificate_file is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._settings.api_port}"

    def _notes(self) -> tuple[str, ...]:
        from optagent.adapters.cluster.serve_environment import haproxy_is_here

        if self._settings.ray_address is None and not haproxy_is_here():
            return ("there is no HAProxy for this machine: Ray Serve's own proxy answers, which is slower",)
        return ()

    def _wait_until_healthy(self, api: str) -> None:
        if not self._is_reachable():
            return
        give_up, fault = time.monotonic() + _HEALTHY_S, ""
        while time.monotonic() < give_up:
            fault = _fault_of_health(api)
            if not fault:
                return
            time.sleep(_POLL_S)
        raise Unavailable(f"the API at {api} is not healthy after {_HEALTHY_S:g} s: {fault}")

    def _is_reachable(self) -> bool:
        """False where the API listens only on the machines of a cluster, of which this may be none."""
        return self._settings.ray_address is None or self._settings.api_host not in _LOOPBACK


@contextmanager
def _one_start_at_a_time() -> Iterator[None]:
    """Keeps two products of a user from starting side by side on a machine, since both would choose the same ports.

    One that takes longer than five minutes is not waited for.
    """
    lock = FileLock(Path(tempfile.gettempdir()) / f"optagent-start-{os.getuid()}.lock")
    with suppress(Timeout, OSError):
        lock.acquire(timeout=_START_TURN_S)
    try:
        yield
    finally:
        lock.release()


def _fault_of_health(api: str) -> str:
    """The reason why the API is not healthy; "" where it is."""
    try:
        url = f"{api}{_HEALTH}"
        with urllib.request.urlopen(url, timeout=10, context=_of_any_name()) as answer:  # noqa: S310 - our own
            return "" if answer.status == 200 else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        return error.read(2000).decode(errors="replace") or f"status {error.code}"
    except OSError as error:
        return str(error) or type(error).__name__


def _of_any_name() -> ssl.SSLContext:
    """For the look at our own server, whose certificate is for its public name; nothing secret is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
