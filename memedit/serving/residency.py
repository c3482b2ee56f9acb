"""Which adapters the served model has loaded: each when first needed, until others need the room.

vLLM forgets its adapters when it restarts, keeps as many as it is given, and ends when the folder
of one that it has loaded is deleted.  So each is looked through before vLLM sees it, loaded once
however many requests wait for it, kept while any request uses it, and unloaded before its folder
may go.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from multidict import CIMultiDict

from memedit.config import AdapterSettings
from memedit.errors import (
    ConflictError,
    MemeditError,
    MissingResourceError,
    UpstreamError,
)
from memedit.library import Library
from memedit.memory import AdapterView
from memedit.routing import AdapterUnavailable
from memedit.serving.metrics import Metrics
from memedit.serving.upstream import Upstream, drained

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 15.0
"""How often what was retired is looked for."""
_LONGEST_ANSWER: Final = 2**20
_SHOWN: Final = 300
_LOAD: Final = b"/v1/load_lora_adapter"
_UNLOAD: Final = b"/v1/unload_lora_adapter"
_UNAUTHORIZED: Final = "unauthorized"


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
        self._upstream = upstream
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
        credentials = _only_credentials(headers)
        await self._check_model(model, credentials)
        if name in self._loaded:
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

    def forget(self, name: str) -> None:
        """Take note that the served model does not know an adapter: it was restarted.

        Then it knows none of the others either, and may be another model.
        """
        log.warning("the served model has forgotten %s: it was restarted", name)
        self._loaded.clear()
        self._failed.pop(name, None)
        self._bases = None
        self._metrics.adapters_loaded.set(0)

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._loading.pop(name, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, AdapterUnavailable):
            if error.reason != _UNAUTHORIZED:  # of one client's key the others know nothing
                self._failed[name] = (time.monotonic() + self._settings.retry_after, error)
            self._metrics.adapter_loads.labels("load", error.reason).inc()
            log.warning("the adapter %s cannot be used (%s): %s", name, error.reason, error)
        elif error is not None:
            log.error("loading the adapter %s failed", name, exc_info=error)

    async def _load(self, name: str, credentials: CIMultiDict[str]) -> None:
        try:
            await asyncio.to_thread(self._library.checked, name, self._settings.base or "")
        except MissingResourceError as error:
            raise AdapterUnavailable(str(error), "missing") from error
        except ConflictError as error:
            raise AdapterUnavailable(str(error), "other-base") from error
        except MemeditError as error:
            raise AdapterUnavailable(str(error), "damaged") from error
        if self._settings.loading == "runtime":
            root = self._settings.served_library or str(self._library.root)
            body = {"lora_name": name, "lora_path": f"{root.rstrip('/')}/{name}"}
            status, said = await self._ask("POST", _LOAD, body, credentials)
            if status == 404 and name not in said:
                raise AdapterUnavailable(
                    "the served model loads no adapters at run time; start vLLM with --enable-lora "
                    "and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, or set adapters.loading to resolver",
                    "not-supported",
                )
            if status != 200 and "already been loaded" not in said:
                raise AdapterUnavailable(
                    f"the served model refused it with status {status}: {said[:_SHOWN]}", "refused"
                )
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
        try:
            status, said = await self._ask("POST", _UNLOAD, {"lora_name": name}, self._credentials)
            outcome = "done" if status in (200, 404) else "refused"
        except AdapterUnavailable as error:
            outcome, said = error.reason, str(error)
        self._metrics.adapter_loads.labels("unload", outcome).inc()
        if outcome == "done":
            log.info("unloaded the adapter %s", name)
        else:
            log.warning("the adapter %s was not unloaded (%s): %s", name, outcome, said[:_SHOWN])

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
            self._bases = await self._base_models(credentials)
        if model not in self._bases:
            raise AdapterUnavailable(
                f"the request asks for the model {model[:80]!r}, which is no base model that is "
                f"served ({', '.join(sorted(self._bases))[:_SHOWN]})",
                "other-model",
            )

    async def _base_models(self, credentials: CIMultiDict[str]) -> frozenset[str]:
        status, said = await self._ask("GET", b"/v1/models", None, credentials)
        try:
            cards = json.loads(said)["data"]
            return frozenset(str(card["id"]) for card in cards if card.get("parent") is None)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise AdapterUnavailable(
                f"the served model does not list its models: status {status}", "not-supported"
            ) from error

    async def _ask(
        self, method: str, path: bytes, body: dict[str, str] | None, credentials: CIMultiDict[str]
    ) -> tuple[int, str]:
        headers = credentials.copy()
        # A refused load makes vLLM reset the connection, so no other request may come to have it.
        headers["connection"] = "close"
        if body is not None:
            headers["content-type"] = "application/json"
        content = b"" if body is None else json.dumps(body).encode()
        try:
            async with self._upstream.request(
                method, path, b"", headers, content, self._settings.load_timeout
            ) as response:
                answer = await drained(response, _LONGEST_ANSWER)
        except UpstreamError as error:
            raise AdapterUnavailable(str(error), "unreachable") from error
        if response.status in (401, 403):
            raise AdapterUnavailable(
                f"the served model answered {path.decode()} with {response.status}; it wants "
                "another key than the request's: set serve.upstream_api_key",
                _UNAUTHORIZED,
            )
        return response.status, answer.decode("utf-8", "replace")


def _only_credentials(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    kept: CIMultiDict[str] = CIMultiDict()
    for name in ("authorization", "x-api-key"):
        for value in headers.getall(name, []):
            kept.add(name, value)
    return kept
