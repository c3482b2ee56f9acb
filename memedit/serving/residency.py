"""Which adapters the served model has loaded: each when first needed, until others need the room.

vLLM forgets its adapters when it restarts, keeps as many as it is given, and ends when the folder
of one that it has loaded is deleted.  So each is looked through before vLLM sees it, and whenever
its files were touched since; loaded once however many requests wait for it, kept while any request
uses it, and unloaded before its folder may go.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from multidict import CIMultiDict

from memedit.config import AdapterSettings
from memedit.library import Inspection, Library
from memedit.memory import AdapterView
from memedit.routing import AdapterUnavailable
from memedit.serving.adapter_calls import SHOWN, UNAUTHORIZED, AdapterCalls, only_credentials
from memedit.serving.metrics import Metrics
from memedit.serving.upstream import Upstream

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 15.0
"""How often what was retired is looked for."""


class Residency:
    """The adapters of one upstream.  For one event loop.

    Args:
        settings: the ``adapters`` section; a library is named.
        library: where adapters lie.
        upstream: the served model.
        metrics: counts loads and unloads.
        view: what the memory knows of adapters.
        refresh: has the memory look for what other processes wrote; may block.

    """

    def __init__(
        self,
        settings: AdapterSettings,
        library: Library,
        upstream: Upstream,
        metrics: Metrics,
        view: Callable[[], AdapterView],
        refresh: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._library = library
        self._inspection = Inspection(library, settings.base or "", self._registered)
        self._calls = AdapterCalls(settings, upstream, str(library.root))
        self._metrics = metrics
        self._view = view
        self._refresh = refresh
        self._loaded: dict[str, None] = {}  # the least recently used first
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._unloading: dict[str, asyncio.Task[None]] = {}
        self._used: Counter[str] = Counter()
        self._failed: dict[str, tuple[float, AdapterUnavailable]] = {}
        self._bases: frozenset[str] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._credentials: CIMultiDict[str] = CIMultiDict()

    @property
    def loaded(self) -> tuple[str, ...]:
        """What is loaded as far as is known, the least recently used first."""
        return tuple(self._loaded)

    def start(self) -> None:
        """Begin to look for what was retired; on the event loop that serves."""
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Stop looking; the adapters stay loaded, for whoever comes after."""
        tasks = [*self._loading.values(), *self._unloading.values()]
        if self._sweeper is not None:
            tasks.append(self._sweeper)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[None]:
        """Keep an adapter loaded, once it is, for as long as a request uses it."""
        self._used[name] += 1
        try:
            yield
        finally:
            self._used[name] -= 1
            if not self._used[name]:
                del self._used[name]
                self._make_room()

    async def provide(self, name: str, model: str | None, headers: CIMultiDict[str]) -> None:
        """See to it that the served model has an adapter.

        Args:
            name: of the adapter.
            model: what the request names; adapters are for base models only, and whoever asks for
                an adapter of their own gets that.
            headers: of the request, under whose key the served model is asked.

        Raises:
            AdapterUnavailable: it cannot be used; ``reason`` is one word for why.

        """
        credentials = only_credentials(headers)
        await self._check_model(model, credentials)
        if name in self._loaded and self._inspection.unchanged(name):
            self._loaded[name] = self._loaded.pop(name)
            return
        known = self._failed.get(name)
        if known is not None:
            until, error = known
            if time.monotonic() < until:
                raise AdapterUnavailable(str(error), error.reason)
            del self._failed[name]
        going = self._unloading.get(name)
        if going is not None:
            await asyncio.wait([going])
        task = self._loading.get(name)
        if task is None:
            task = asyncio.create_task(self._load(name, credentials))
            self._loading[name] = task
            task.add_done_callback(lambda done: self._ended(name, done))
        # a client that leaves does not take the load away from those who wait for it too
        await asyncio.shield(task)

    async def forgotten(self, name: str, headers: CIMultiDict[str]) -> None:
        """Take note that the served model does not know an adapter, and say why, if it shows."""
        if not self._library.folder(name).is_dir():
            log.warning(
                "the served model no longer has %s: its folder is gone from %s",
                *(name, self._library.root),
            )
            self._drop(name)
            return
        if self._settings.loading == "resolver":
            log.warning(
                "the served model has no %s in its library, though it is in %s: "
                "MEMEDIT_ADAPTER_LIBRARY must name that very folder",
                *(name, self._library.root),
            )
            self._drop(name)
            return
        others = set(self._loaded) - {name}
        try:
            served = set(await self._calls.models(only_credentials(headers)))
        except AdapterUnavailable:
            served = set()
        if name in served:
            return  # another request has had it loaded meanwhile
        if others & served:
            log.warning(
                "the served model no longer has %s, and has others still: it was unloaded there, "
                "which is for the proxy to do",
                name,
            )
            self._drop(name)
            return
        if others:
            log.warning("the served model has forgotten all adapters: it was restarted")
        else:
            log.warning(
                "the served model has forgotten %s: it was restarted, or the adapter was unloaded "
                "there",
                name,
            )
        self._loaded.clear()
        self._failed.pop(name, None)
        self._bases = None  # it may be another model
        self._metrics.adapters_loaded.set(0)

    def refused(self, name: str, said: bytes) -> AdapterUnavailable:
        """Take note that the served model lets no request go to an adapter, and return why."""
        text = said.decode("utf-8", "replace")[:SHOWN]
        error = AdapterUnavailable(
            f"the served model refused it with status 400: {text}", "refused"
        )
        self._drop(name)
        self._note(name, error)
        return error

    def fault(self, name: str) -> str | None:
        """Say in a word what keeps an adapter from being used, as far as shows without asking.

        For any thread; may read the adapter's files.
        """
        known = self._failed.get(name)
        if known is not None and time.monotonic() < known[0]:
            return known[1].reason
        found = self._inspection.fault(name)
        return None if found is None else found.reason

    def _registered(self, name: str) -> str:
        record = self._view().records.get(name)
        return "" if record is None else record.sha256

    def _drop(self, name: str) -> None:
        self._loaded.pop(name, None)
        self._metrics.adapters_loaded.set(len(self._loaded))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._loading.pop(name, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, AdapterUnavailable):
            self._note(name, error)
        elif error is not None:
            log.error("loading the adapter %s failed", name, exc_info=error)

    def _note(self, name: str, error: AdapterUnavailable) -> None:
        if error.reason != UNAUTHORIZED:  # of one client's key the others know nothing
            self._failed[name] = (time.monotonic() + self._settings.retry_after, error)
        self._metrics.adapter_loads.labels("load", error.reason).inc()
        log.warning("the adapter %s cannot be used (%s): %s", name, error.reason, error)

    async def _load(self, name: str, credentials: CIMultiDict[str]) -> None:
        fault = await asyncio.to_thread(self._inspection.fault, name)
        if fault is not None:
            if name in self._loaded:
                self._unload(name)  # before the served model needs to read it again
            raise AdapterUnavailable(fault.message, fault.reason)
        if name in self._loaded:
            return  # its files were touched, and are what they were
        if self._settings.loading == "runtime":
            await self._calls.load(name, credentials)
        self._credentials = credentials  # they were good enough, also to unload it later
        self._loaded[name] = None
        self._metrics.adapter_loads.labels("load", "done").inc()
        self._metrics.adapters_loaded.set(len(self._loaded))
        log.info("loaded the adapter %s", name)
        self._make_room()

    def _make_room(self) -> None:
        """Unload the least recently used, as far as there are too many and nobody uses them."""
        idle = [one for one in self._loaded if not self._used[one]]
        for name in idle[: max(0, len(self._loaded) - self._settings.max_loaded)]:
            self._unload(name)

    def _unload(self, name: str) -> None:
        del self._loaded[name]
        self._metrics.adapters_loaded.set(len(self._loaded))
        task = asyncio.create_task(self._unloaded(name))
        self._unloading[name] = task
        task.add_done_callback(lambda _: self._unloading.pop(name, None))

    async def _unloaded(self, name: str) -> None:
        if self._settings.loading == "resolver":
            return  # what vLLM found by itself it also drops by itself
        outcome, said = await self._calls.unload(name, self._credentials)
        self._metrics.adapter_loads.labels("unload", outcome).inc()
        if outcome == "done":
            log.info("unloaded the adapter %s", name)
        else:
            log.warning("the adapter %s was not unloaded (%s): %s", name, outcome, said)

    async def _sweep(self) -> None:
        """Unload what was retired, once nobody uses it."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            if not self._loaded:
                continue
            try:
                # where no requests come, nobody else looks for what other processes wrote
                await asyncio.to_thread(self._refresh)
                self.sweep()
            except Exception:
                log.exception("looking for retired adapters failed; it is tried again")

    def sweep(self) -> None:
        """Unload what is loaded, unused and no longer live in the memory."""
        records = self._view().records
        for name in [one for one in self._loaded if not self._used[one]]:
            record = records.get(name)
            if record is None or not record.live:
                self._unload(name)

    async def _check_model(self, model: str | None, credentials: CIMultiDict[str]) -> None:
        if model is None:
            return
        if self._bases is None:
            served = await self._calls.models(credentials)
            self._bases = frozenset(name for name, parent in served.items() if parent is None)
        if model not in self._bases:
            raise AdapterUnavailable(
                f"the request asks for the model {model[:80]!r}, which is no base model that is "
                f"served ({', '.join(sorted(self._bases))[:SHOWN]})",
                "other-model",
            )
