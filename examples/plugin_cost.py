"""What memedit's plugin costs inside vLLM: `python -m examples.plugin_cost --vllm-python PYTHON`.

Two servers of the same model stand side by side: one without the plugin, one with it and a library
that holds a GRACE codebook.  The same prompts are answered, greedily and without an early end, by
the first, by the second's own model (plugin loaded, no adapter) and through the codebook, in turns,
so that a machine that drifts drifts for all.  A ratio is that of the throughputs of one round; what
is shown is the median over rounds with the lowest and highest.  The first request of an adapter
that the server has never seen stands beside the second one of the same adapter.  Client and servers
share the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from memedit.adapters import Adapter, load_adapter, open_adapter
from memedit.cli.processes import Server, free_port
from memedit.engine.loading import load_model
from memedit.evaluation.datasets import load_dataset
from memedit.types import EditRequest

UNIPROC = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
MODEL = "model"
CODEBOOK = "memedit-codebook-1"
WAYS = ("without the plugin", "plugin, no adapter", "plugin, codebook")
TASKS = ("zsre", "wiki_counterfact", "wiki_recent")


def edits_of(count: int) -> list[EditRequest]:
    """Return AtlasEdit's first edits, of different prompts."""
    cases = load_dataset("atlasedit", tasks=list(TASKS)).cases
    found = list({request.prompt: request for case in cases for request in case.requests}.values())
    if len(found) < count:
        raise SystemExit(f"--keys {count}: AtlasEdit has {len(found)} different edits")
    return found[:count]


def codebook_of(model: Path, edits: Sequence[EditRequest], steps: int) -> Adapter[Any]:
    """Learn a codebook; how well its values were searched plays no part in what it costs."""
    loaded = load_model(model)
    grace = open_adapter("grace", {"search": {"steps": steps}})
    with Progress(transient=True) as bar:
        bar.add_task(f"a codebook of {len(edits):,} edits", total=None)
        grace.learn(loaded.model, loaded.tokenizer, edits)
    return grace


def server_of(
    python: Path, model: Path, folder: Path, plugin: dict[str, Any] | None
) -> tuple[Server, str]:
    """Return a vLLM that is not started yet, and its address; ``plugin`` is for its settings."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--enable-lora", "--max-lora-rank", "64", "--max-loras", "4"]
    # The worker within the engine's process, as on one GPU: on CPUs one of its own is the default,
    # which spins for a second after each step and would take a core from the other server.
    command += ["--enforce-eager", "--distributed-executor-backend", UNIPROC]
    env = dict(os.environ) | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_PLUGINS": "",
    }
    name = "vLLM without the plugin" if plugin is None else "vLLM with the plugin"
    if plugin is not None:
        command += ["--additional-config", json.dumps({"memedit": plugin})]
        env |= {"VLLM_PLUGINS": "memedit", "MEMEDIT_ADAPTER_LIBRARY": str(folder / "library")}
    log = folder / f"{'plugin' if plugin is not None else 'plain'}.log"
    return Server(name, command, f"{url}/health", log=log, env=env, cwd=folder), url


async def answered(
    session: aiohttp.ClientSession, url: str, model: str, prompts: Sequence[str], tokens: int
) -> float:
    """Have all prompts answered at once; return seconds.

    Raises:
        RuntimeError: an answer is no answer, or not of the length that was asked for.

    """

    async def one(prompt: str) -> int:
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
        async with session.post(f"{url}/v1/completions", json=body | {"ignore_eos": True}) as reply:
            answer = await reply.json()
        if reply.status != 200:
            raise RuntimeError(f"{model}: {reply.status} {answer}")
        return int(answer["usage"]["completion_tokens"])

    began = time.perf_counter()
    lengths = await asyncio.gather(*(one(prompt) for prompt in prompts))
    took = time.perf_counter() - began
    if set(lengths) != {tokens}:
        raise RuntimeError(f"{model}: answers of {set(lengths)} tokens, {tokens} were asked for")
    return took


async def measure(
    plain: str, plugged: str, prompts: Sequence[str], given: argparse.Namespace
) -> dict[str, list[float]]:
    """Return seconds of every round, for each way."""
    ways = dict(zip(WAYS, ((plain, MODEL), (plugged, MODEL), (plugged, CODEBOOK)), strict=True))
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session:
        for url, model in ways.values():  # kernels, caches and the adapter itself
            await answered(session, url, model, prompts, given.tokens)
        with Progress(transient=True) as bar:
            task = bar.add_task("rounds", total=given.rounds)
            for number in range(given.rounds):
                turn = number % len(WAYS)
                for way in (*WAYS[turn:], *WAYS[:turn]):
                    url, model = ways[way]
                    took = await answered(session, url, model, prompts, given.tokens)
                    seconds[way].append(took)
                bar.advance(task)
    return seconds


async def first_and_later(url: str, names: Sequence[str], prompt: str) -> dict[str, list[float]]:
    """Return seconds of one request: the model's own, each adapter's first and its second."""
    seconds: dict[str, list[float]] = {"model": [], "first": [], "later": []}
    async with aiohttp.ClientSession() as session:
        for name in names:
            for kind, model in (("model", MODEL), ("first", name), ("later", name)):
                seconds[kind].append(await answered(session, url, model, [prompt], 1))
    return seconds


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Show a median with the lowest and highest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--vllm-python", type=Path, required=True, help="of vLLM's environment")
    parser.add_argument("--model", type=Path, default=Path("examples/atlas/model"))
    parser.add_argument("--codebook", type=Path, help="a saved one; else one is learned")
    parser.add_argument("--keys", type=int, default=1000, help="edits in the codebook")
    parser.add_argument("--steps", type=int, default=5, help="of the search for the values")
    parser.add_argument("--prompts", type=int, default=16, help="answered at once")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--new", type=int, default=8, help="adapters asked for the first time")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    edits = edits_of(given.keys)
    model = given.model.absolute()
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        if given.codebook is None:
            adapter = codebook_of(model, edits, given.steps)
        else:
            adapter = load_adapter(given.codebook)
        names = [f"memedit-new{number}-1" for number in range(given.new)]
        for name in (CODEBOOK, *names):
            adapter.save(folder / "library" / name)
        settings = {"grace_layers": [adapter.layer], "grace_capacity": given.keys}
        urls = []
        for plugin in (None, settings):
            server, url = server_of(given.vllm_python.absolute(), model, folder, plugin)
            stack.enter_context(server)
            server.wait_healthy(600)
            urls.append(url)
        prompts = [edit.prompt for edit in edits[:: max(1, len(edits) // given.prompts)]]
        prompts = prompts[: given.prompts]
        seconds = asyncio.run(measure(*urls, prompts, given))
        single = asyncio.run(first_and_later(urls[1], names, prompts[0]))
    report(seconds, single, given, len(prompts) * given.tokens)


def report(
    seconds: dict[str, list[float]],
    single: dict[str, list[float]],
    given: argparse.Namespace,
    tokens: int,
) -> None:
    """Print what was measured."""
    rows = [
        {
            "way": way,
            "tokens_per_second": [tokens / took for took in each],
            "ratio": [a / b for a, b in zip(seconds[WAYS[0]], each, strict=True)],
        }
        for way, each in seconds.items()
    ]
    if given.json:
        print(json.dumps({"keys": given.keys, "throughput": rows, "seconds_of_one": single}))
        return
    table = Table(title=f"{given.prompts} answers of {given.tokens} tokens at once")
    for column in ("", "tokens/s", "ratio"):
        table.add_column(column)
    for row in rows:
        table.add_row(str(row["way"]), spread(row["tokens_per_second"], 0), spread(row["ratio"]))  # type: ignore[arg-type]
    console = Console()
    console.print(table)
    for kind, each in single.items():
        console.print(f"one token, {kind}: {spread([1000 * took for took in each], 1)} ms")


if __name__ == "__main__":
    main()
