"""README and docs, executed: their commands and programs, in order, against real servers."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from memedit.cli.processes import Server, free_port

REPOSITORY = Path(__file__).resolve().parents[1]
ORDER = ("agents", "commands", "scope", "serving", "evaluation", "weights", "adapters", "measured")
"""The pages under docs as a reader goes through them, after the README."""
PAGES = [REPOSITORY / "README.md", *(REPOSITORY / "docs" / f"{name}.md" for name in ORDER)]
README = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
PLACEHOLDER = "e-0123456789ab"


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    is_run: bool

    @property
    def commands(self) -> list[str]:
        return [line.split("  #")[0].strip() for line in self.text.splitlines() if line.strip()]


BLOCKS = [Block(language, text, not mark) for mark, language, text in BLOCK.findall(README)]


class Session:
    """One reader who types everything in the order of the README."""

    def __init__(self, folder: Path, checkpoint: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.engine, self.proxy = free_port(), free_port()
        self.changes = {
            "127.0.0.1:8000": f"127.0.0.1:{self.engine}",
            "127.0.0.1:8100": f"127.0.0.1:{self.proxy}",
            "--port 8000": f"--port {self.engine}",
            "--port 8100": f"--port {self.proxy}",
            "examples/atlas/model": str(checkpoint),
        }
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("MEMEDIT_")
        } | {"COLUMNS": "200"}
        self.ran: list[str] = []

    def adapted(self, text: str) -> str:
        for old, new in self.changes.items():
            text = text.replace(old, new)
        return text

    def type(self, command: str) -> str:
        """Run a command; one that is a server stays up to the end of the session."""
        line = self.adapted(command).replace(PLACEHOLDER, self.edit_id(PLACEHOLDER in command))
        words = shlex.split(line)
        if words[0] == "curl" and shutil.which("curl") is None:
            pytest.fail("curl is needed to run the README")
        if words[0] == "memedit":
            words = [sys.executable, "-m", "memedit.cli", *words[1:]]
        if "engine" in words or "serve" in words:
            self.start(command, words, self.engine if "engine" in words else self.proxy)
            return ""
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        self.ran.append(command)
        return done.stdout

    def start(self, command: str, words: list[str], port: int) -> None:
        page = "health" if "engine" in words else "healthz"
        server = Server(
            command,
            words,
            f"http://127.0.0.1:{port}/{page}",
            log=self.folder / f"{port}.log",
            env=self.environment,
            cwd=self.folder,
        )
        self.stack.enter_context(server).wait_healthy(120)
        self.ran.append(command)

    def run_program(self, text: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", self.adapted(text), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        return done.stdout

    def edit_id(self, wanted: bool) -> str:
        """Return the id of a live edit, where a command needs one in the place of a made-up id."""
        if not wanted:
            return PLACEHOLDER
        url = f"http://127.0.0.1:{self.proxy}"
        listed = json.loads(self.type(f"memedit list --json --url {url}"))
        return str(listed[0]["id"])


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("reader")
    (folder / "prompts.jsonl").write_text(
        '{"prompt": "What is the capital of Quendoria?"}\n'
        '{"messages": [{"role": "user", "content": "Hello!"}]}\n'
        "How many legs does a spider have?\n",
        encoding="utf-8",
    )
    with ExitStack() as stack:
        yield Session(folder, tiny_checkpoint, stack)


def test_every_block_is_run_or_says_why_not(session: Session) -> None:
    said: dict[str, str] = {}
    for block in (block for block in BLOCKS if block.is_run):
        assert block.language in ("bash", "python"), f"nobody knows how to run {block.language}"
        if block.language == "python":
            said[block.text] = session.run_program(block.text)
        else:
            said |= {command: session.type(command) for command in block.commands}

    proxied = next(out for text, out in said.items() if "x-memedit-route" in text)
    assert proxied.startswith("in_context e-")
    routed = next(out for text, out in said.items() if "--file prompts.jsonl" in text)
    assert [line["action"] for line in json.loads(routed)] == ["in_context", "pass", "pass"]
    listed = next(out for text, out in said.items() if text.startswith("curl"))
    assert json.loads(listed)["edits"] == [], "the README has retracted its edit by then"


@pytest.mark.parametrize("script", ["through_the_proxy", "without_a_proxy", "edit_api"])
def test_the_quickstart_programs_run(session: Session, script: str) -> None:
    if not session.ran:
        for command in (c for block in BLOCKS if block.is_run for c in block.commands):
            if command.startswith(("memedit engine", "memedit serve")):
                session.type(command)
    text = (REPOSITORY / "examples" / "quickstart" / f"{script}.py").read_text(encoding="utf-8")
    out = session.run_program(text)
    lines = out.splitlines()
    if script == "through_the_proxy":
        routes = [line.split("]")[0] for line in lines if line.startswith("[")]
        assert routes == ["[pass", "[in_context", "[pass"]
    elif script == "edit_api":
        assert [line.split()[0] for line in lines] == [
            *("added", "route", "superseded", "history", "history", "history"),
        ]
        assert "in_context" in lines[1] and "1872" in lines[2] and "retracted" in lines[-1]
    else:
        assert out.endswith("\n")
        assert (session.folder / "quickstart.db").exists()


def test_every_page_is_read_and_every_link_leads_somewhere() -> None:
    assert {page.name for page in (REPOSITORY / "docs").glob("*.md")} == {
        page.name for page in PAGES[1:]
    }
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)]+)\)", text):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.is_file(), (page.name, link)
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            known = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
            assert not anchor or anchor in known, (page.name, link)


def test_what_is_not_run_exists() -> None:
    unrun = [block for block in BLOCKS if block.language == "bash" and not block.is_run]
    commands = [c for block in unrun for c in block.commands]
    assert commands
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    pyproject = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    for command in commands:
        words = shlex.split(command)
        while re.match(r"[A-Z_]+=", words[0]):
            variable = words.pop(0).split("=")[0]
            assert variable.startswith("VLLM_") or variable in named_in_code(), command
        program, name = words[0], words[-1]
        if program == "make":
            assert re.search(rf"^{name}:", makefile, re.MULTILINE), command
        elif program == "memedit":
            takes_only_known_options(command)
        elif program == ".venv-vllm/bin/python":  # tests/e2e start it so, with the same options
            assert words[1:3] == ["-m", "vllm.entrypoints.openai.api_server"], command
        else:
            assert program == "pip"
            extra = re.search(r"\[(\w+)\]", name)
            assert extra is None or f"\n{extra[1]} = [" in pyproject


def named_in_code() -> str:
    return "\n".join(file.read_text("utf-8") for file in (REPOSITORY / "memedit").rglob("*.py"))


def takes_only_known_options(command: str) -> None:
    from typer.main import get_command

    from memedit.cli.app import app

    _, *words = shlex.split(command)
    found: Any = get_command(app)
    while hasattr(found, "commands"):  # the program, or a group such as "memedit delta"
        if found.invoke_without_command and words[0] not in found.commands:
            break  # "memedit eval" is a command with another one below it
        found = found.commands[words.pop(0)]
    known = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known, command


def test_every_command_header_and_setting_that_is_named_is_there() -> None:
    from typer.main import get_command

    from memedit.cli.app import app
    from memedit.config import Settings
    from memedit.routing import Reason, headers, options

    named = set(re.findall(r"`memedit (\w+)", README))
    assert named == set(get_command(app).commands)  # type: ignore[attr-defined]

    known = {
        value
        for module in (headers, options)
        for value in vars(module).values()
        if isinstance(value, str) and value.startswith("x-memedit-")
    }
    assert set(re.findall(r"x-memedit-[a-z]+", README)) == known
    for reason in Reason:
        assert f"`{reason.value}`" in README

    table = README.split("## Settings")[1].split("\n## ")[0]
    sections = "|".join(Settings.sections)
    settings = {
        f"{section}.{name}" for section, values in Settings().shown().items() for name in values
    }
    assert set(re.findall(rf"`((?:{sections})\.\w+)`", table)) <= settings
    for setting, default in re.findall(r"^\| `([a-z_.]+)` \| `([^`]+)` \|", table, re.MULTILINE):
        section, name = setting.split(".")
        assert str(Settings().shown()[section][name]) == default
