"""A vLLM with memedit's plugin, and what transformers says in its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import torch
from safetensors.torch import save_file

from tests.e2e.stack import Vllm
from tests.e2e.wires import COMPLETIONS, MODEL, Answer, send

KEY = "the-plugin's-key"
SLOTS = 4
LAYERS = (2, 3)
CAPACITY = 16
RANK = 64


class PluggedVllm(Vllm):
    """vLLM with the plugin and a library, in float32, so that log-probabilities can be compared."""

    def __init__(self, log: Path, library: Path, *flags: str) -> None:
        super().__init__(log)
        grace = {"memedit": {"grace_layers": list(LAYERS), "grace_capacity": CAPACITY}}
        self.command += ["--dtype", "float32", "--additional-config", json.dumps(grace)]
        self.command += ["--enable-lora", "--max-loras", str(SLOTS), "--max-lora-rank", str(RANK)]
        self.command += ["--max-cpu-loras", str(SLOTS), *flags]
        self.library = library
        self._env |= {
            "VLLM_PLUGINS": "memedit",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "MEMEDIT_ADAPTER_LIBRARY": str(library),
            "MEMEDIT_PLUGIN_KEY": KEY,
        }

    def plugin(self, method: str, path: str, body: Any = None, key: str = KEY) -> Answer:
        """Ask the plugin's own routes."""
        headers = {"memedit-plugin-key": key} if key else {}
        return send(self.url, method, f"/v1/memedit{path}", body, headers)

    def put(self, *deltas: str) -> Any:
        reply = self.plugin("PUT", "/weights", {"deltas": list(deltas)})
        assert reply.status == 200, reply.body
        return reply.json()

    def complete(self, ids: Sequence[int], model: str = MODEL, tokens: int = 6) -> Answer:
        body = {"model": model, "prompt": list(ids), "max_tokens": tokens, "temperature": 0}
        body |= {"logprobs": 0, "return_token_ids": True, "ignore_eos": True}
        return send(self.url, "POST", COMPLETIONS.path, body)

    def said(self, ids: Sequence[int], model: str = MODEL, tokens: int = 6) -> Said:
        """Complete greedily."""
        reply = self.complete(ids, model, tokens)
        assert reply.status == 200, (model, reply.status, reply.body)
        choice = reply.json()["choices"][0]
        logprobs = [float(x) for x in choice["logprobs"]["token_logprobs"]]
        return Said(tuple(ids), tuple(choice["token_ids"]), tuple(logprobs))

    def streams(self, ids: Sequence[int], stop: Event, tokens: int = 48) -> int:
        """Stream one answer after the other until told to stop; returns how many were whole."""
        body = {"model": MODEL, "prompt": list(ids), "max_tokens": tokens, "temperature": 0}
        body |= {"stream": True, "ignore_eos": True, "return_token_ids": True}
        whole = 0
        while not stop.is_set():
            reply = send(self.url, "POST", COMPLETIONS.path, body)
            assert reply.status == 200, (reply.status, reply.body)
            assert reply.body.rstrip().endswith(b"data: [DONE]")
            pieces = [c.get("token_ids") or () for e in reply.events for c in e["choices"]]
            assert sum(map(len, pieces)) == tokens, reply.body
            whole += 1
        return whole

    def together(self, asked: Sequence[tuple[Sequence[int], str]], tokens: int = 6) -> list[Said]:
        """Complete prompts for different models, all at once."""
        with ThreadPoolExecutor(len(asked)) as pool:
            return list(pool.map(lambda one: self.said(one[0], one[1], tokens), asked))


@dataclass(frozen=True)
class Said:
    """An answer, token by token, with its log-probabilities."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]

    def worst(self, model: Any) -> float:
        """Return how far the log-probabilities are from those of a transformers model.

        What is said must be the model's greedy answer, up to ties.
        """
        ids = torch.tensor([[*self.prompt, *self.tokens]])
        with torch.no_grad():
            rows = model(ids).logits[0, len(self.prompt) - 1 : -1].float().log_softmax(-1)
        own = rows.gather(1, torch.tensor(self.tokens)[:, None])[:, 0]
        assert bool((own >= rows.max(1).values - 1e-3).all()), "not the greedy answer"
        return float((own - torch.tensor(self.logprobs)).abs().max())


def write_lora(folder: Path, factors: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> Path:
    """Write a LoRA as PEFT does: module -> (A [r, in], B [out, r]), alpha = r."""
    folder.mkdir(parents=True)
    rank = max(a.shape[0] for a, _ in factors.values())
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "bias": "none"}
    config["target_modules"] = sorted({name.rpartition(".")[2] for name in factors})
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {}
    for name, (a, b) in factors.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = a
        tensors[f"base_model.model.{name}.lora_B.weight"] = b
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder
