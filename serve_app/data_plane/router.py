"""A gateway's own view of who answers: tables with their versions loaded, decided by the clock for each request.

It follows the tables that are kept for all gateways, and goes on with what it has while those are away.
"""

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from optagent.domain.routing import RoutingTable
from optagent.errors import OptAgentError, Unavailable
from optagent.ports import Clock, Loader, Routes
from serve_app.data_plane.metrics import GatewayMetrics
from serve_app.data_plane.route import Route, Version

_ALIVE_BEATS = 5
_LOADS_AT_ONCE = 2

_log = logging.getLogger("optagent.gateway")

Key = tuple[str, str]
"""A model and a version."""


class Router:
    """Loads what tables name, and says who answers. All of it runs on one event loop, but for the loading.

    It says that it is alive every `beat_s`. A version that failed to load is tried again after `retry_s`, and one that
    no table names stays for `grace_s`: requests that were decided before still need it.
    """

    def __init__(
        self,
        routes: Routes,
        loader: Loader,
        clock: Clock,
        figures: GatewayMetrics,
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
        self._figures = figures
        self._gateway_id = gateway_id
        self._pool = ThreadPoolExecutor(_LOADS_AT_ONCE, thread_name_prefix="optagent-load")
        self._active: dict[str, RoutingTable] = {}
        self._staged: dict[str, RoutingTable] = {}
        self._answering: dict[str, Route] = {}
        self._upcoming: dict[str, list[Route]] = {}
        self._versions: dict[Key, Version] = {}
        self._loading: dict[Key, asyncio.Task[None]] = {}
        self._failed: dict[Key, tuple[str, float]] = {}
        self._unneeded: dict[Key, float] = {}
        self._to_say: dict[str, tuple[int, str]] = {}
        self._said: dict[str, tuple[int, str]] = {}
        self._pulled = self._stale = False
        self._changing = asyncio.Lock()  # what is heard while all tables are read is newer than those
        self._saying: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to listen."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._beat())]

    async def close(self) -> None:
        """Says goodbye, and lets go of all versions."""
        for task in (*self._tasks, *self._loading.values()):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._loading.values(), return_exceptions=True)
        with suppress(OptAgentError, TimeoutError):
            await asyncio.wait_for(self._routes.leave(self._gateway_id), self._beat_s)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for version in self._versions.values():
            version.close()
        self._versions.clear()
        self._answering.clear()

    @property
    def ready(self) -> bool:
        """Whether every model with a table can be answered for, or is known not to load."""
        return self._pulled and all(
            model_id in self._answering or self._is_settled(table) for model_id, table in self._active.items()
        )

    def route(self, model_id: str, arrival: float) -> Route | None:
        """Who answers a request that arrived then; None where nobody can, see `refusal`."""
        upcoming = self._upcoming.get(model_id)
        while upcoming and arrival >= upcoming[0].starts_at:
            self._answering[model_id] = upcoming.pop(0)
        return self._answering.get(model_id)

    def refusal(self, model_id: str) -> OptAgentError | None:
        """Why a model cannot be answered for right now; None for one without a table."""
        if not self._pulled:
            return Unavailable("the gateway does not know yet which versions answer: Redis has not been heard of")
        table = self._active.get(model_id)
        if table is None:
            return None
        failed = [self._failed[key][0] for key in _keys(table) if key in self._failed]
        return Unavailable(failed[0] if failed else f"{model_id} version {table.champion} is being loaded")

    async def _listen(self) -> None:
        async for table in self._routes.changes():
            with _logged():
                if table is None:
                    await self._pull()
                    continue
                async with self._changing:
                    self._keep(table)
                    self._settle(table.model_id)

    async def _pull(self) -> None:
        """All tables anew: some may have changed unheard."""
        async with self._changing:
            try:
                tables = await self._routes.tables()
            except OptAgentError:
                self._stale = True
                return
            before = {*self._active, *self._staged}
            self._active, self._staged, self._said = {}, {}, {}
            for table in tables:
                self._keep(table, told=False)
            self._pulled, self._stale = True, False
            for model_id in {*before, *self._active, *self._staged}:
                self._settle(model_id)

    def _keep(self, table: RoutingTable, told: bool = True) -> None:
        model_id = table.model_id
        if table.activate_at is not None:
            self._active[model_id] = table
            if model_id in self._staged and self._staged[model_id].revision <= table.revision:
                del self._staged[model_id]
            return
        self._staged[model_id] = table
        self._said.pop(model_id, None)
        if told:  # whoever stages a table once more wants it tried once more
            for key in _keys(table):
                self._failed.pop(key, None)

    def _settle(self, model_id: str) -> None:
        """One step towards what the tables of a model say; called whenever anything has changed."""
        active, staged = self._active.get(model_id), self._staged.get(model_id)
        for table in filter(None, (active, staged)):
            for key in _keys(table):
                self._need(key)
        if staged is not None and self._is_settled(staged):
            self._acknowledge(staged)
        if active is None:
            self._answering.pop(model_id, None)
            self._upcoming.pop(model_id, None)
        elif (model_id, active.champion) in self._versions or self._is_settled(active):
            self._answer_by(active)

    def _need(self, key: Key) -> None:
        """Has a version loaded, unless it is, or failed a moment ago."""
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
            _log.warning("%s version %s cannot be loaded: %s", *key, error)
        else:
            self._versions[key] = Version(model)
            self._failed.pop(key, None)
            _log.info("%s version %s is loaded: %s", *key, model.reason)
        finally:
            del self._loading[key]
        self._settle(key[0])

    def _is_settled(self, table: RoutingTable) -> bool:
        """Whether each version is loaded or has failed."""
        return all(key in self._versions or (key in self._failed and key not in self._loading) for key in _keys(table))

    def _acknowledge(self, table: RoutingTable) -> None:
        failed = [self._failed[key][0] for key in _keys(table) if key not in self._versions]
        said = (table.revision, "; ".join(failed))
        if self._said.get(table.model_id) != said and self._to_say.get(table.model_id) != said:
            self._to_say[table.model_id] = said
            self._saying = asyncio.create_task(self._say())

    async def _say(self) -> None:
        """Tells what has been loaded; what cannot be told now is told at the next beat."""
        for model_id, said in list(self._to_say.items()):
            revision, error = said
            try:
                await self._routes.acknowledge(self._gateway_id, model_id, revision, error)
            except OptAgentError:
                return
            self._said[model_id] = said
            if self._to_say.get(model_id) == said:
                del self._to_say[model_id]

    def _answer_by(self, table: RoutingTable) -> None:
        """Makes the table's route the one that answers, or that will from its time on."""
        model_id = table.model_id
        loaded = {key[1]: self._versions[key] for key in _keys(table) if key in self._versions}
        known = [*self._upcoming.get(model_id, ()), *filter(None, [self._answering.get(model_id)])]
        if not loaded or any(route.table == table and route.loaded == set(loaded) for route in known):
            return
        route = Route(table, loaded, self._figures.of(model_id))
        earlier = [one for one in self._upcoming.get(model_id, ()) if one.table.revision < table.revision]
        if route.starts_at <= self._clock.now() or model_id not in self._answering:
            self._answering[model_id] = route
            self._upcoming.pop(model_id, None)
        else:
            self._upcoming[model_id] = [*(one for one in earlier if one.starts_at < route.starts_at), route]

    async def _beat(self) -> None:
        """Once a second: says that the gateway is alive, and tries again what did not work."""
        while True:
            with _logged():
                with suppress(OptAgentError):
                    await self._routes.beat(self._gateway_id, _ALIVE_BEATS * self._beat_s)
                await self._try_again()
            await asyncio.sleep(self._beat_s)

    async def _try_again(self) -> None:
        if self._stale:
            await self._pull()
        for model_id in list(self._active):
            self.route(model_id, self._clock.now())
            self._settle(model_id)
        self._drop_unneeded()
        if self._to_say:
            await self._say()

    def _drop_unneeded(self) -> None:
        now = asyncio.get_running_loop().time()
        needed = {*self._needed()}
        self._unneeded = {key: self._unneeded.get(key, now) for key in self._versions if key not in needed}
        for key, since in self._unneeded.items():
            if now - since >= self._grace_s:
                self._versions.pop(key).close()

    def _needed(self) -> Iterator[Key]:
        upcoming = [route.table for routes in self._upcoming.values() for route in routes]
        answering = [route.table for route in self._answering.values()]
        for table in (*self._active.values(), *self._staged.values(), *answering, *upcoming):
            yield from _keys(table)


@contextmanager
def _logged() -> Iterator[None]:
    """What nobody has thought of must not end the listening."""
    try:
        yield
    except Exception:
        _log.exception("the gateway's view of its tables could not be brought up to date")


def _keys(table: RoutingTable) -> list[Key]:
    return [(table.model_id, version) for version in table.versions]
