"""Router of a gateway: it loads the versions of routing tables and finds the route of each request by the clock.

It follows the tables in the store of all gateways, and goes on with the last known ones while the store is away.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from optagent.domain.routing import RoutingTable
from optagent.errors import OptAgentError, Unavailable
from optagent.ports import Clock, Loader, Routes
from serve_app.data_plane.metrics import GatewayMetrics
from serve_app.data_plane.mixture import MixtureRoute
from serve_app.data_plane.route import Route
from serve_app.data_plane.version import Version

_ALIVE_BEATS = 5
_LOADS_AT_ONCE = 2
_SHADOW_END_S = 1.0

_log = logging.getLogger("optagent.gateway")

Key = tuple[str, str, str]
"""A model id, a version, and the digest of its bundle, "" where its table does not know it."""


class Router:
    """Loads the versions that tables name, and finds routes. Except for the loading, all runs on one event loop.

    It sends a heartbeat every `beat_s`. A version that failed to load is tried again after `retry_s`. One that no table
    names any more stays for `grace_s`, since requests that were routed before still need it.
    """

    def __init__(
        self,
        routes: Routes,
        loader: Loader,
        clock: Clock,
        metrics: GatewayMetrics,
        gateway_id: str,
        *,
        beat_s: float = 1.0,
        retry_s: float = 5.0,
        grace_s: float = 10.0,
    ) -> None:
        self._beat_s = beat_s
        self._retry_s = retry_s
        self._grace_s = grace_s
        self._routes = routes
        self._loader = loader
        self._clock = clock
        self._metrics = metrics
        self._gateway_id = gateway_id
        self._pool = ThreadPoolExecutor(_LOADS_AT_ONCE, thread_name_prefix="optagent-load")
        self._active: dict[str, RoutingTable] = {}
        self._staged: dict[str, RoutingTable] = {}
        self._current: dict[str, Route] = {}
        self._upcoming: dict[str, list[Route]] = {}
        self._versions: dict[Key, Version] = {}
        self._loading: dict[Key, asyncio.Task[None]] = {}
        self._failed: dict[Key, tuple[str, float]] = {}
        self._unneeded_since: dict[Key, float] = {}
        self._kept_digests: frozenset[str] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._unsent_acks: dict[str, tuple[int, str]] = {}
        self._sent_acks: dict[str, tuple[int, str]] = {}
        self._has_tables = self._stale = False
        self._lock = asyncio.Lock()  # a change that arrives while all tables are read is newer than those
        self._sending: set[asyncio.Task[None]] = set()  # the event loop keeps no task alive by itself
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts to listen to changes and to send heartbeats."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._beat_forever())]

    async def close(self) -> None:
        """Leaves the list of gateways, and closes all versions."""
        tasks = [*self._tasks, *self._loading.values(), *self._sending, *filter(None, [self._keeping])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(OptAgentError, TimeoutError):
            await asyncio.wait_for(self._routes.leave(self._gateway_id), self._beat_s)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for version in self._versions.values():
            version.close()
        await asyncio.to_thread(self._wait_for_shadows)
        self._versions.clear()
        self._current.clear()

    @property
    def ready(self) -> bool:
        """True where each model with a table has a route, or is known not to load."""
        return self._has_tables and all(
            model_id in self._current or self._is_settled(table) for model_id, table in self._active.items()
        )

    def find_route(self, model_id: str, arrival: float) -> Route | None:
        """The route of a request with that arrival; None where no version can answer, see `refusal`."""
        upcoming = self._upcoming.get(model_id)
        while upcoming and arrival >= upcoming[0].starts_at:
            self._current[model_id] = upcoming.pop(0)
        return self._current.get(model_id)

    def has_failed(self, model_id: str) -> bool:
        """True where a version of the model's table did not load."""
        table = self._active.get(model_id)
        return table is not None and any(key in self._failed for key in _version_keys(table))

    def refusal(self, model_id: str) -> OptAgentError | None:
        """The reason why a model has no route right now; None for a model without a table."""
        if not self._has_tables:
            return Unavailable("the gateway does not know yet which versions answer: Redis has not been heard of")
        table = self._active.get(model_id)
        if table is None:
            return None
        failed = [self._failed[key][0] for key in _version_keys(table) if key in self._failed]
        return Unavailable(failed[0] if failed else f"{model_id} version {table.champion} is being loaded")

    async def _listen(self) -> None:
        async for table in self._routes.changes():
            with _log_errors():
                if table is None:
                    await self._read_all_tables()
                    continue
                async with self._lock:
                    self._store_table(table)
                    self._reconcile(table.model_id)

    async def _read_all_tables(self) -> None:
        """Reads all tables again, since changes may have been missed."""
        async with self._lock:
            try:
                tables = await self._routes.tables()
            except OptAgentError:
                self._stale = True
                return
            earlier_models = {*self._active, *self._staged}
            self._active, self._staged, self._sent_acks = {}, {}, {}
            for table in tables:
                self._store_table(table, is_news=False)
            self._has_tables, self._stale = True, False
            for model_id in {*earlier_models, *self._active, *self._staged}:
                self._reconcile(model_id)

    def _store_table(self, table: RoutingTable, is_news: bool = True) -> None:
        model_id = table.model_id
        if table.activate_at is not None:
            self._active[model_id] = table
            if model_id in self._staged and self._staged[model_id].revision <= table.revision:
                del self._staged[model_id]
            return
        self._staged[model_id] = table
        self._sent_acks.pop(model_id, None)
        if is_news:  # a table that is staged again is to be tried again
            for key in _version_keys(table):
                self._failed.pop(key, None)

    def _reconcile(self, model_id: str) -> None:
        """Takes a step towards the tables of a model; called after each change of tables or versions."""
        active, staged = self._active.get(model_id), self._staged.get(model_id)
        for table in filter(None, (active, staged)):
            for key in _version_keys(table):
                self._start_loading(key)
        if staged is not None and self._is_settled(staged):
            self._acknowledge(staged)
        if active is None:
            self._current.pop(model_id, None)
            self._upcoming.pop(model_id, None)
        elif _version_keys(active)[0] in self._versions or self._is_settled(active):
            self._schedule_route(active)

    def _start_loading(self, key: Key) -> None:
        """Starts to load a version, unless it is loaded, is being loaded, or failed a moment ago."""
        if key in self._versions or key in self._loading:
            return
        if key in self._failed and asyncio.get_running_loop().time() - self._failed[key][1] < self._retry_s:
            return
        self._loading[key] = asyncio.create_task(self._load(key))

    async def _load(self, key: Key) -> None:
        loop = asyncio.get_running_loop()
        try:
            model = await loop.run_in_executor(self._pool, self._loader.load, *key)
        except Exception as error:
            self._failed[key] = (str(error), loop.time())
            _log.warning("%s version %s cannot be loaded: %s", *key[:2], error)
        else:
            self._versions[key] = Version(model)
            self._failed.pop(key, None)
            _log.info("%s version %s is loaded: %s", *key[:2], model.reason)
        finally:
            del self._loading[key]
        self._reconcile(key[0])

    def _is_settled(self, table: RoutingTable) -> bool:
        """True where each version of the table is loaded or has failed."""
        return all(
            key in self._versions or (key in self._failed and key not in self._loading) for key in _version_keys(table)
        )

    def _acknowledge(self, table: RoutingTable) -> None:
        failed = [self._failed[key][0] for key in _version_keys(table) if key not in self._versions]
        ack = (table.revision, "; ".join(failed))
        if self._sent_acks.get(table.model_id) != ack and self._unsent_acks.get(table.model_id) != ack:
            self._unsent_acks[table.model_id] = ack
            task = asyncio.create_task(self._send_acks())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send_acks(self) -> None:
        """Acknowledges loaded tables; an acknowledgement that cannot be sent now is sent at the next beat."""
        for model_id, ack in list(self._unsent_acks.items()):
            revision, error = ack
            try:
                await self._routes.acknowledge(self._gateway_id, model_id, revision, error)
            except OptAgentError:
                return
            self._sent_acks[model_id] = ack
            if self._unsent_acks.get(model_id) == ack:
                del self._unsent_acks[model_id]

    def _schedule_route(self, table: RoutingTable) -> None:
        """Makes the route of a table the current one, or an upcoming one where its time is yet to come."""
        model_id = table.model_id
        loaded = {key[1]: self._versions[key] for key in _version_keys(table) if key in self._versions}
        routes = [*self._upcoming.get(model_id, ()), *filter(None, [self._current.get(model_id)])]
        if not loaded or any(route.table == table and route.loaded == set(loaded) for route in routes):
            return
        route = Route(table, loaded, self._metrics.of_model(model_id))
        self._fuse(route.mixture, [other.mixture for other in routes])
        earlier = [other for other in self._upcoming.get(model_id, ()) if other.table.revision < table.revision]
        if route.starts_at <= self._clock.now() or model_id not in self._current:
            self._current[model_id] = route
            self._upcoming.pop(model_id, None)
        else:
            self._upcoming[model_id] = [*(other for other in earlier if other.starts_at < route.starts_at), route]

    def _fuse(self, mixture: MixtureRoute | None, earlier: Sequence[MixtureRoute | None]) -> None:
        """Starts to fuse the versions of a mixture, unless they are those of an earlier one with other weights."""
        if mixture is None:
            return
        for other in filter(None, earlier):
            if other.fusion.fuses == mixture.fusion.fuses:
                mixture.fusion = other.fusion
                return
        if mixture.fusion.is_possible:
            asyncio.get_running_loop().run_in_executor(self._pool, mixture.fusion.make)

    async def _beat_forever(self) -> None:
        """Sends a heartbeat every `beat_s`, and tries again what failed before."""
        while True:
            with _log_errors():
                with suppress(OptAgentError):
                    await self._routes.beat(self._gateway_id, _ALIVE_BEATS * self._beat_s)
                await self._retry_failed()
            await asyncio.sleep(self._beat_s)

    async def _retry_failed(self) -> None:
        if self._stale:
            await self._read_all_tables()
        for model_id in list(self._active):
            self.find_route(model_id, self._clock.now())
            self._reconcile(model_id)
        self._drop_unneeded()
        self._keep_needed_bundles()
        if self._unsent_acks:
            await self._send_acks()

    def _wait_for_shadows(self) -> None:
        """Waits until closed shadows have recorded what they had begun; blocks for a second in all at most."""
        end = time.monotonic() + _SHADOW_END_S
        for version in self._versions.values():
            if version.shadow is not None:
                version.shadow.join(end - time.monotonic())

    def _drop_unneeded(self) -> None:
        now = asyncio.get_running_loop().time()
        needed_keys = {*self._needed_keys()}
        self._unneeded_since = {
            key: self._unneeded_since.get(key, now) for key in self._versions if key not in needed_keys
        }
        for key, since in self._unneeded_since.items():
            if now - since >= self._grace_s:
                self._versions.pop(key).close()

    def _keep_needed_bundles(self) -> None:
        """Starts to tell the loader the bundles that tables name, where these are others than before."""
        digests = frozenset(key[2] for key in self._needed_keys() if key[2])
        is_known = self._has_tables and not self._stale
        if is_known and digests != self._kept_digests and (self._keeping is None or self._keeping.done()):
            self._keeping = asyncio.create_task(self._keep_bundles(digests))

    async def _keep_bundles(self, digests: frozenset[str]) -> None:
        with _log_errors(), suppress(Unavailable):
            await asyncio.get_running_loop().run_in_executor(self._pool, self._loader.keep, digests)
            self._kept_digests = digests

    def _needed_keys(self) -> Iterator[Key]:
        upcoming = [route.table for routes in self._upcoming.values() for route in routes]
        current = [route.table for route in self._current.values()]
        for table in (*self._active.values(), *self._staged.values(), *current, *upcoming):
            yield from _version_keys(table)


@contextmanager
def _log_errors() -> Iterator[None]:
    """Logs unexpected errors, which must not end the loop of the caller."""
    try:
        yield
    except Exception:
        _log.exception("the gateway's view of its tables could not be brought up to date")


def _version_keys(table: RoutingTable) -> list[Key]:
    """The keys of the table's versions, that of the champion first."""
    return [(table.model_id, version, digest) for version, digest in table.bundles]
