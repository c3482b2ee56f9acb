"""The agent itself: a method, an endpoint and the edits, driven over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.to_thread
import httpx2

from memedit.agent.base import AgentMethod
from memedit.agent.catalog import AGENTS
from memedit.agent.completing import Endpoint
from memedit.agent.lookup_tool import EditLookup
from memedit.agent.session import Lookup
from memedit.agent.trace import Trace
from memedit.errors import InvalidInputError, MemeditError, UpstreamTimeout, UpstreamUnreachable
from memedit.routing import NeedUpstream, UpstreamReply, run_async, run_sync
from memedit.routing.drive import Decider
from memedit.types import Surface

if TYPE_CHECKING:
    from memedit.config import Settings
    from memedit.memory import EditMemory

DEFAULT_METHOD = "pokemqa"


class MultiHopAgent:
    """Answers questions that lean on several facts, some of them edited.

    >>> with memedit.MultiHopAgent.open("sqlite:///edits.db", upstream=URL) as agent:
    ...     trace = agent.ask("Who leads the country where the Brandenburg Gate stands?")
    ...     trace.answer, trace.edits

    The endpoint is asked for plain completions of transcripts.  Where it is a memedit proxy, the
    transcripts pass it untouched: the agent itself looks the edits up, hop by hop.
    """

    def __init__(
        self,
        router: Decider,
        upstream: str,
        *,
        method: str | AgentMethod = DEFAULT_METHOD,
        model: str | None = None,
        surface: Surface = Surface.COMPLETION,
        max_tokens: int = 160,
        lookup: Lookup | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        concurrency: int = 16,
        transport: httpx2.BaseTransport | None = None,
        async_transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Wire an agent; nothing is sent yet.

        Args:
            router: looks up and judges the edits.
            upstream: base URL of an OpenAI-compatible server, with or without ``/v1``.
            method: a registered name, or a method with settings of its own.
            model: ``None`` is the first that the server lists.
            surface: whether transcripts are continued as plain text, or as a chat's user turn.
            max_tokens: of one call.
            lookup: namespaces and threshold.
            api_key: sent to the server.
            timeout: seconds for each step of a call.
            concurrency: questions under way at once in ``ask_many``.
            transport: how to reach the server from ``ask``; tests put their own here.
            async_transport: how to reach it from ``ask_many``.

        Raises:
            InvalidInputError: no such method, or a number out of range.

        """
        if concurrency < 1 or max_tokens < 1:
            raise InvalidInputError(
                f"got concurrency {concurrency} and max_tokens {max_tokens}; expected 1 or more"
            )
        self.router = router
        self.method = AGENTS.get(method)() if isinstance(method, str) else method
        self.endpoint = Endpoint(model, surface, max_tokens)
        self.lookup = lookup or Lookup()
        self.concurrency = concurrency
        self._transport = transport
        self._async_transport = async_transport
        self._owned: AbstractContextManager[object] | None = None
        self._options = _options(upstream, api_key, timeout)

    @classmethod
    def open(
        cls,
        memory: str | EditMemory | None = None,
        *,
        settings: Settings | None = None,
        upstream: str | None = None,
        lookup: Lookup | None = None,
        **options: Any,
    ) -> Self:
        """Make an agent over an edit memory; a context manager.

        Args:
            memory: URL of an edit memory (closed with the agent), or an open one (left open);
                ``None`` is that of the settings.
            settings: ``None`` reads the environment and ``memedit.toml``.
            upstream: base URL of the server; ``None`` is that of the settings.
            lookup: namespaces and threshold; ``None`` is the settings' own.
            options: further arguments of the agent.  The settings' ``agent`` section stands for
                ``method``, ``surface`` and ``max_tokens`` where they are not given, and says how
                many hops a method takes that is given by name, and which demonstrations it shows.

        Raises:
            SettingsError: memory or settings name what is not there.
            InvalidInputError: no such method, or demonstrations that it does not read.

        """
        from memedit.wiring import open_agent_method, open_memory, open_router, read_settings

        chosen = settings if settings is not None else read_settings()
        owned = open_memory(memory, chosen) if memory is None or isinstance(memory, str) else None
        opened = owned if owned is not None else memory
        key = chosen.serve.upstream_api_key
        options.setdefault("api_key", key.get_secret_value() if key else None)
        options.setdefault("surface", Surface.CHAT if chosen.agent.chat else Surface.COMPLETION)
        options.setdefault("max_tokens", chosen.agent.max_tokens)
        method = options.get("method", chosen.agent.method)
        try:
            if isinstance(method, str):
                named = chosen.agent.model_copy(update={"method": method})
                options["method"] = open_agent_method(named)
            agent = cls(
                open_router(opened, chosen),  # type: ignore[arg-type]
                upstream or chosen.serve.upstream,
                lookup=lookup or Lookup((chosen.memory.namespace,)),
                **options,
            )
        except BaseException:
            if owned is not None:
                owned.close()
            raise
        agent._owned = owned
        return agent

    def ask(self, question: str) -> Trace:
        """Answer one question in this thread.

        What fails on the way stands in the trace: see ``Trace.ended`` and ``Trace.error``.

        Raises:
            InvalidInputError: the question is empty.

        """
        with httpx2.Client(transport=self._transport, **self._options) as http:
            plan = self.method.answer(question, self.endpoint, self.lookup)
            return run_sync(plan, self.router, lambda step: _call(http, step))

    async def ask_many(self, questions: Sequence[str]) -> list[Trace]:
        """Answer questions side by side, ``concurrency`` at most, so that a server can batch them.

        Returns:
            One trace per question, in their order.

        Raises:
            InvalidInputError: a question is empty; none was asked.

        """
        empty = next((n for n, one in enumerate(questions) if not one.strip()), None)
        if empty is not None:
            raise InvalidInputError(f"question {empty} is empty; expected one in words")
        traces: dict[int, Trace] = {}
        limit = anyio.Semaphore(self.concurrency)
        async with httpx2.AsyncClient(transport=self._async_transport, **self._options) as http:

            async def answer(number: int, question: str) -> None:
                async with limit:
                    traces[number] = await run_async(
                        self.method.answer(question, self.endpoint, self.lookup),
                        lambda queries: anyio.to_thread.run_sync(self.router.decide, queries),
                        lambda step: _acall(http, step),
                    )

            async with anyio.create_task_group() as group:
                for number, question in enumerate(questions):
                    group.start_soon(answer, number, question)
        return [traces[number] for number in range(len(questions))]

    def lookup_tool(self) -> EditLookup:
        """Return the same look-up as a tool for other agents; open as long as the memory is."""
        return EditLookup(self.router, self.lookup)

    def close(self) -> None:
        """Close the memory if it was opened here."""
        if self._owned is not None:
            self._owned.__exit__(None, None, None)
            self._owned = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _options(upstream: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    try:
        base_url = httpx2.URL(upstream.rstrip("/").removesuffix("/v1"))
    except httpx2.InvalidURL as error:
        raise InvalidInputError(f"{upstream!r} is no URL: {error}") from error
    if not base_url.is_absolute_url:
        raise InvalidInputError(f"{upstream!r} is no URL; expected http://HOST:PORT")
    headers = {"content-type": "application/json", "x-memedit-bypass": "1"}
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    limits = httpx2.Timeout(timeout, connect=min(timeout, 10.0), pool=None)
    return {"base_url": base_url, "headers": headers, "timeout": limits}


def _call(http: httpx2.Client, step: NeedUpstream) -> UpstreamReply:
    try:
        reply = http.request(step.method, step.path, content=step.body or None)
    except httpx2.HTTPError as error:
        raise _lost(http.base_url, error) from error
    return UpstreamReply(reply.status_code, reply.content)


async def _acall(http: httpx2.AsyncClient, step: NeedUpstream) -> UpstreamReply:
    try:
        reply = await http.request(step.method, step.path, content=step.body or None)
    except httpx2.HTTPError as error:
        raise _lost(http.base_url, error) from error
    return UpstreamReply(reply.status_code, reply.content)


def _lost(base_url: httpx2.URL, error: httpx2.HTTPError) -> MemeditError:
    kind = UpstreamTimeout if isinstance(error, httpx2.TimeoutException) else UpstreamUnreachable
    said = f": {error}" if str(error) else ""
    return kind(f"no answer from {base_url} ({type(error).__name__}{said})")
