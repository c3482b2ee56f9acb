"""A vLLM that keeps adapters, and fails as it is told to: what a real one cannot be made to do."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.serving.raw_upstream import RawUpstream, Received

CHAT = "/v1/chat/completions"


@dataclass
class FakeVllm:
    """Adapters as vLLM 0.32 keeps them, on a raw upstream."""

    upstream: RawUpstream
    loaded: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    refuses: str = ""
    forgetful: bool = False
    rejects: str = ""
    """With memedit's plugin: what is said of every adapter that a request names."""
    wants: bytes | None = None
    hold: threading.Event | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        for path, script in (
            (b"/v1/models", self.models),
            (b"/v1/load_lora_adapter", self.load),
            (b"/v1/unload_lora_adapter", self.unload),
            (CHAT.encode(), self.answer),
        ):
            self.upstream.scripts[path] = self.guarded(script)

    def guarded(self, script: Callable[[Any], Any]) -> Any:
        async def run(request: Received, writer: asyncio.StreamWriter) -> None:
            if self.wants is not None and request.header(b"authorization") != self.wants:
                status, body = 401, {"error": "Unauthorized"}
            else:
                status, body = await script(json.loads(request.body or b"{}"))
            content = json.dumps(body).encode()
            head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n" % status
            writer.write(head + b"content-length: %d\r\n\r\n" % len(content) + content)
            await writer.drain()

        return run

    async def models(self, body: dict[str, str]) -> tuple[int, Any]:
        cards = [{"id": "m", "parent": None}, {"id": "own-lora", "parent": "m"}]
        return 200, {"data": cards + [{"id": name, "parent": "m"} for name in self.loaded]}

    async def load(self, body: dict[str, str]) -> tuple[int, Any]:
        name = body["lora_name"]
        self.calls.append(("load", name))
        await asyncio.sleep(0.05)
        if self.refuses:
            return 500, {"error": {"message": self.refuses}}
        if name in self.loaded:
            return 400, {"error": {"message": f"'{name}' has already been loaded."}}
        self.loaded[name] = body["lora_path"]
        return 200, "Success"

    async def unload(self, body: dict[str, str]) -> tuple[int, Any]:
        self.calls.append(("unload", body["lora_name"]))
        known = self.loaded.pop(body["lora_name"], None)
        return (404, "not found") if known is None else (200, "Success")

    async def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        model = body["model"]
        if self.forgetful:
            self.loaded.clear()
        if model not in {"m", "own-lora", *self.loaded}:
            return 404, {"error": {"message": f"The model `{model}` does not exist."}}
        if self.rejects and model.startswith("memedit-"):
            said = f"the adapter {model!r} cannot be served: {self.rejects}"
            return 400, {"error": {"message": said, "param": "model", "code": 400}}
        if self.hold is not None and model.startswith("memedit-"):
            await asyncio.to_thread(self.hold.wait, 20)
        return 200, {"model": model, "content": body["messages"][-1]["content"]}
