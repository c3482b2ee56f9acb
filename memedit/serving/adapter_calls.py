"""What a served model is asked about its adapters: which it has, to load one, to unload one."""

from __future__ import annotations

import json
from typing import Final

from multidict import CIMultiDict

from memedit.config import AdapterSettings
from memedit.errors import UpstreamError
from memedit.routing import AdapterUnavailable
from memedit.serving.upstream import Upstream, drained

UNAUTHORIZED: Final = "unauthorized"
SHOWN: Final = 300
"""Characters of an answer that a log line shows."""
_LONGEST_ANSWER: Final = 2**20
_LOAD: Final = b"/v1/load_lora_adapter"
_UNLOAD: Final = b"/v1/unload_lora_adapter"


class AdapterCalls:
    """vLLM's calls for adapters, each under the key of the request that needs it."""

    def __init__(self, settings: AdapterSettings, upstream: Upstream, root: str) -> None:
        self._upstream = upstream
        self._timeout = settings.load_timeout
        self._root = (settings.served_library or root).rstrip("/")

    async def load(self, name: str, credentials: CIMultiDict[str]) -> None:
        """Have an adapter loaded; one that is loaded already is no error.

        Raises:
            AdapterUnavailable: it was not loaded.

        """
        body = {"lora_name": name, "lora_path": f"{self._root}/{name}"}
        status, said = await self._ask("POST", _LOAD, body, credentials)
        if status == 404 and name not in said:
            raise AdapterUnavailable(
                "the served model loads no adapters at run time; start vLLM with --enable-lora "
                "and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, or set adapters.loading to resolver",
                "not-supported",
            )
        if status != 200 and "already been loaded" not in said:
            raise AdapterUnavailable(
                f"the served model refused it with status {status}: {said[:SHOWN]}", "refused"
            )

    async def unload(self, name: str, credentials: CIMultiDict[str]) -> tuple[str, str]:
        """Have an adapter unloaded; return in a word what came of it, and what was answered."""
        try:
            status, said = await self._ask("POST", _UNLOAD, {"lora_name": name}, credentials)
        except AdapterUnavailable as error:
            return error.reason, str(error)
        return "done" if status in (200, 404) else "refused", said[:SHOWN]

    async def models(self, credentials: CIMultiDict[str]) -> dict[str, str | None]:
        """Return the names that are served, each with the base model that it is an adapter of.

        Raises:
            AdapterUnavailable: they are not listed.

        """
        status, said = await self._ask("GET", b"/v1/models", None, credentials)
        try:
            return {str(card["id"]): card.get("parent") for card in json.loads(said)["data"]}
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
                method, path, b"", headers, content, self._timeout
            ) as response:
                answer = await drained(response, _LONGEST_ANSWER)
        except UpstreamError as error:
            raise AdapterUnavailable(str(error), "unreachable") from error
        if response.status in (401, 403):
            raise AdapterUnavailable(
                f"the served model answered {path.decode()} with {response.status}; it wants "
                "another key than the request's: set serve.upstream_api_key",
                UNAUTHORIZED,
            )
        return response.status, answer.decode("utf-8", "replace")


def is_refusal(name: str, status: int, said: bytes) -> bool:
    """Tell whether an answer says that an adapter cannot be served: the plugin's word, or vLLM's.

    Other answers with status 400 speak of what the client asks for.
    """
    return (
        status == 400
        and f"adapter '{name}'".encode() in said
        and (b"cannot be served" in said or b"could not be loaded" in said)
    )


def only_credentials(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """Return of a request's headers those by which the served model knows who asks."""
    kept: CIMultiDict[str] = CIMultiDict()
    for name in ("authorization", "x-api-key"):
        for value in headers.getall(name, []):
            kept.add(name, value)
    return kept
