"""Servers as child processes: started, waited for until they are healthy, always ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

from memedit.errors import (
    MissingResourceError,
    SettingsError,
    UpstreamTimeout,
    UpstreamUnreachable,
)

GRACE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_LOG_TAIL = 15


class Server:
    """A server in a process group of its own; leaving the block ends the whole group.

    Args:
        name: what it is called in messages.
        command: program and arguments.
        health: URL that answers 200 when the server is ready.
        log: file that gets its output; ``None`` lets the output through to stderr.
        env: its environment; ``None`` is that of this process.
        cwd: its working directory.
        listener: a listening socket that it inherits under the same number; this process's copy
            is closed when it has started, so that the port is free again when the server ends.
        grace: seconds it may take to end when it is asked to; more for one with servers of its own.

    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        health: str,
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        listener: socket.socket | None = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.health = health
        self.log = log
        self.env = env
        self.cwd = cwd
        self.grace = grace
        self._listener = listener
        self._process: subprocess.Popen[bytes] | None = None
        self._sink: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._sink = self.log.open("wb") if self.log else None
        try:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=self._sink or sys.stderr.fileno(),
                stderr=subprocess.STDOUT if self._sink else None,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
                pass_fds=() if self._listener is None else (self._listener.fileno(),),
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            self.stop()
            raise MissingResourceError(f"cannot start {self.name}: {error}") from error
        finally:
            if self._listener is not None:
                self._listener.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and whatever it started: asked first, then forced."""
        process, self._process = self._process, None
        if process is not None:
            _signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.grace)
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def wait_healthy(self, seconds: float) -> None:
        """Return when the health URL answers 200.

        Raises:
            UpstreamUnreachable: the process ended before it was healthy; shows its last lines.
            UpstreamTimeout: not healthy after ``seconds``.

        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise UpstreamUnreachable(
                    f"{self.name} ended with exit code {self._process.returncode} before it was "
                    f"ready{self._last_lines()}"
                )
            if _answers(self.health):
                return
            time.sleep(0.1)
        raise UpstreamTimeout(
            f"{self.name} did not answer {self.health} within {seconds:.0f} s{self._last_lines()}"
        )

    def _last_lines(self) -> str:
        if self.log is None:
            return "; its output stands above"
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "; its last lines: " + " | ".join(lines[-_LOG_TAIL:])


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free now, and unlikely to be taken soon.

    Those that the system hands out (from 32,768 on, on Linux) go to every connection that anybody
    opens, and a server may take a minute before it listens: so one below them, where there is one.
    """
    choice = random.SystemRandom()
    for port in [*(choice.randrange(20_000, 32_768) for _ in range(20)), 0]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            found: int = probe.getsockname()[1]
            return found
    raise SettingsError(f"no port of {host} is free; name one")


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the blocks that end child processes."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _answers(url: str) -> bool:
    import urllib.error
    import urllib.request

    # Not through a proxy of the environment: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2.0) as reply:
            ready: bool = reply.status == 200
            return ready
    except (OSError, urllib.error.URLError):
        return False


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _die_with_parent() -> None:
    """Have the kernel end this process when its parent is killed outright (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
