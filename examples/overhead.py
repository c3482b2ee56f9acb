"""What the proxy costs a request that no edit concerns: `python -m examples.overhead`.

A toy upstream answers chat requests at once, so that all that is measured is the road through the
proxy: with edits left out (bypass), in a namespace without edits, and among N edits (encoded,
searched, judged).  The four ways are timed in turns, so that a machine that drifts drifts for all,
and stand beside the direct way as ratios of each round's medians.  Client, proxy and upstream
share the cores; with more connections than cores the throughput is that of all three together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import track
from rich.table import Table

import memedit
from memedit.cli.processes import free_port

PATH = "/v1/chat/completions"
BODY = json.dumps(
    {
        "model": "toy",
        "messages": [
            {"role": "system", "content": "You answer in one short sentence."},
            {"role": "user", "content": "How do I keep basil alive on a windowsill in winter?"},
        ],
        "max_tokens": 32,
    }
).encode()
WAYS: dict[str, Mapping[str, str]] = {
    "direct": {},
    "bypass": {"x-memedit-bypass": "1"},
    "no edits": {"x-memedit-namespace": "empty"},
    "among edits": {},
}
UPSTREAM = """
import sys, uvicorn
ANSWER = b'{"id":"x","object":"chat.completion","model":"toy","choices":[{"index":0,"message":' \
    b'{"role":"assistant","content":"With light."},"finish_reason":"stop"}]}'
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": ANSWER})
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False, lifespan="off")
"""


def facts(n: int) -> list[memedit.EditRequest]:
    """Plainly fictional edits."""
    return [
        memedit.EditRequest(
            prompt=f"The harbour master of Port {number} is",
            subject=f"Port {number}",
            target_new=f"officer {number}",
        )
        for number in range(n)
    ]


@contextmanager
def servers(edits: int) -> Iterator[tuple[str, str]]:
    """Start upstream and proxy; yields their base URLs."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'edits.db'}"
        with memedit.open_memory(url) as memory:
            memory.add(facts(edits))
        behind, front = free_port(), free_port()
        upstream = f"http://127.0.0.1:{behind}"
        proxy = [sys.executable, "-m", "memedit.cli", "serve", "--upstream", upstream]
        started = [
            subprocess.Popen([sys.executable, "-c", UPSTREAM, str(behind)]),
            subprocess.Popen(
                [*proxy, "--port", str(front), "--memory", url, "--log-level", "error"],
                stdout=subprocess.DEVNULL,
            ),
        ]
        try:
            for port in (behind, front):
                wait_for(port)
            yield upstream, f"http://127.0.0.1:{front}"
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait()


def wait_for(port: int, seconds: float = 120.0) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port} after {seconds:.0f} s")


async def timed(url: str, headers: Mapping[str, str], requests: int, width: int) -> list[float]:
    """Milliseconds of each of `requests` requests, `width` of them at a time."""
    took: list[float] = []

    async def one_after_another(session: aiohttp.ClientSession, n: int) -> None:
        for _ in range(n):
            begun = time.perf_counter()
            async with session.post(
                url + PATH, data=BODY, headers={"content-type": "application/json", **headers}
            ) as reply:
                await reply.read()
                reply.raise_for_status()
            took.append((time.perf_counter() - begun) * 1_000)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=width)) as session:
        await one_after_another(session, 5)
        took.clear()
        await asyncio.gather(*(one_after_another(session, requests // width) for _ in range(width)))
    return took


def measure(edits: int, rounds: int, requests: int, width: int) -> list[dict[str, Any]]:
    """Time all ways in turns; a row per way with medians over rounds and their spread."""
    medians: dict[str, list[float]] = {way: [] for way in WAYS}
    per_second: dict[str, list[float]] = {way: [] for way in WAYS}
    with servers(edits) as (upstream, proxy):
        for _ in track(range(rounds), "rounds", console=Console(stderr=True)):
            for way, headers in WAYS.items():
                url = upstream if way == "direct" else proxy
                begun = time.perf_counter()
                took = asyncio.run(timed(url, headers, requests, width))
                per_second[way].append(len(took) / (time.perf_counter() - begun))
                medians[way].append(statistics.median(took))
    rows = []
    for way, found in medians.items():
        ratios = [ours / direct for ours, direct in zip(found, medians["direct"], strict=True)]
        rows.append(
            {
                "way": way,
                "connections": width,
                "edits": edits,
                "median_ms": round(statistics.median(found), 3),
                "low_ms": round(min(found), 3),
                "high_ms": round(max(found), 3),
                "added_ms": round(
                    statistics.median(found) - statistics.median(medians["direct"]), 3
                ),
                "ratio": round(statistics.median(ratios), 2),
                "per_second": round(statistics.median(per_second[way])),
            }
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--edits", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=400, help="of each way in each round")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = measure(given.edits, given.rounds, given.requests, given.connections)
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(title=f"{given.edits} edits, {given.connections} connection(s)")
    shown = [name for name in rows[0] if name not in ("connections", "edits")]
    for name in shown:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(str(row[name]) for name in shown))
    Console().print(table)


if __name__ == "__main__":
    main()
