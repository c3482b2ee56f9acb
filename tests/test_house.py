"""The house rules that a program can check: who imports whom, what is packaged, what is public."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = {
    "memedit": REPOSITORY / "memedit",
    "memedit.adapters": REPOSITORY / "adapters",
    "memedit.indexes": REPOSITORY / "indexes",
}
CORE = {"types", "errors", "faults", "registry", "config", "setting_types"}

# Which rooms a room may import, besides the core and itself.
MAY_IMPORT: dict[str, set[str]] = {
    **{name: set() for name in CORE},
    "indexes": set(),
    "library": set(),
    "modeling": set(),
    "memory": {"indexes"},
    "scope": {"indexes"},  # the words of names, which memory's index of names reads alike
    "incontext": {"indexes"},  # demonstrations have an index of their own
    "routing": {"memory", "scope", "incontext"},
    "enrichment": {"memory", "scope", "indexes", "routing"},
    "serving": {"routing", "memory", "library", "enrichment"},
    # what a question describes is read as the classifier and the search for chains read it
    "agent": {"routing", "incontext", "memory", "wiring", "scope", "indexes"},
    "client": {"routing", "memory", "wiring"},
    "editing": {"modeling"},
    "adapters": {"modeling"},
    "engine": {"modeling"},
    # training reads a prompt, hides a subject and writes an edit as serving does
    "serac": {"modeling", "scope", "incontext"},
    "evaluation": {"modeling", "indexes"},  # the words of names, which find faulty probes
    # The composition root: the only module that names concrete classes of several rooms; the
    # command line and the client's transport get their parts from it.
    "wiring": {"memory", "indexes", "scope", "incontext", "routing", "agent", "enrichment"},
    "__main__": {"cli"},
    "cli": {
        *("wiring", "client", "serving", "engine", "routing", "memory", "scope", "incontext"),
        "enrichment",
        *("modeling", "editing", "adapters", "evaluation", "agent", "library", "serac"),
    },
}
WITHOUT_TORCH = (
    *("serving", "client", "agent", "routing", "memory", "library", "incontext", "wiring", "cli"),
    "enrichment",
)
HEAVY = {"torch", "transformers", "peft", "sentence_transformers"}


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in FOLDERS.items():
        for file in sorted(folder.rglob("*.py")):
            inside = file.relative_to(folder)
            if package == "memedit" and inside.parts[0] in ("adapters", "indexes"):
                continue  # symlinks to the folders beside
            parts = [package, *inside.with_suffix("").parts]
            yield ".".join(parts).removesuffix(".__init__"), file


MODULES = dict(modules())


def room_of(module: str) -> str:
    return [*module.split("."), ""][1]


def imported(file: Path) -> Iterator[tuple[str, bool]]:
    """Yield every imported module's name, and whether it is imported for type checkers alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        typing_only = id(node) in for_types
        if isinstance(node, ast.Import):
            yield from ((alias.name, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import in line {node.lineno}"
            yield node.module or "", typing_only
            yield from ((f"{node.module}.{alias.name}", typing_only) for alias in node.names)


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name)])
def test_rooms_import_only_what_they_may(module: str) -> None:
    room = room_of(module)
    assert room in MAY_IMPORT, f"{module}: the house has no room {room!r}; say what it may import"
    allowed = CORE | MAY_IMPORT[room] | {room}
    wrong = {
        name
        for name, _ in imported(MODULES[module])
        if name.startswith("memedit.")
        and room_of(name) not in allowed
        and (room_of(name) in MAY_IMPORT or room_of(name) == "")
    }
    assert not wrong, f"{module} imports {sorted(wrong)}; {room} may import {sorted(allowed)}"


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) in WITHOUT_TORCH])
def test_these_rooms_never_name_a_library_of_language_models(module: str) -> None:
    named = {name.split(".")[0] for name, typing in imported(MODULES[module]) if not typing}
    assert not named & HEAVY


@pytest.mark.parametrize(
    "statement",
    [
        "import memedit; memedit.http_client, memedit.Client, memedit.MultiHopAgent",
        "import memedit.serving.app, memedit.serving.server",
        "import memedit.cli.app",
        "from memedit.config import Settings; from memedit.wiring import *;"
        "m = open_memory('sqlite://', Settings()); open_router(m, Settings()); m.search('hi')",
    ],
)
def test_a_proxy_starts_without_loading_torch(statement: str) -> None:
    code = f"import sys\n{statement}\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr


def test_the_list_of_packages_is_what_lies_on_disk() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    listed = settings["tool"]["setuptools"]["packages"]
    on_disk = {name for name, file in MODULES.items() if file.name == "__init__.py"}
    assert sorted(listed) == sorted(on_disk)


def test_every_registered_part_can_be_imported_by_its_name() -> None:
    from memedit.agent.catalog import AGENTS
    from memedit.incontext.catalog import METHODS
    from memedit.indexes.catalog import INDEXES
    from memedit.scope.catalog import CLASSIFIERS

    for registry in (AGENTS, METHODS, INDEXES, CLASSIFIERS):
        assert registry.names(), f"no {registry.kind} is registered"
        for name in registry.names():
            part = registry.get(name)
            assert vars(part)["registered_name"] == name
            assert part.__doc__, f"{registry.kind} {name!r} says nothing about itself"
    assert {"mello", "pokemqa"} <= set(AGENTS.names())
    assert {"ice", "statement", "none"} <= set(METHODS.names())
    assert {"flat", "faiss"} <= set(INDEXES.names())
    assert "cosine" in CLASSIFIERS.names()


@pytest.mark.parametrize(
    "module",
    [m for m, file in MODULES.items() if "\n__all__ = [" in file.read_text(encoding="utf-8")],
)
def test_all_is_sorted_and_whole(module: str) -> None:
    loaded = importlib.import_module(module)
    assert list(loaded.__all__) == sorted(set(loaded.__all__), key=_as_ruff_sorts)
    missing = [name for name in loaded.__all__ if not hasattr(loaded, name)]
    assert not missing


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_the_public_names_are_those_of_the_package() -> None:
    import memedit

    source = ast.parse((FOLDERS["memedit"] / "__init__.py").read_text(encoding="utf-8"))
    announced = {
        alias.asname
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("memedit.")
        for alias in node.names
    }
    assert announced | {"__version__"} == set(memedit.__all__)
    assert dir(memedit) == sorted(memedit.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        memedit.nothing  # noqa: B018


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "helpers", "common", "misc", "util"}
    assert not [name for name in MODULES if name.rsplit(".", 1)[-1] in drawers]


def test_files_stay_short() -> None:
    long = {
        name: lines
        for name, file in MODULES.items()
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert not long, f"past about 300 lines a file is usually two things: {long}"


def test_nothing_is_pickled() -> None:
    named = {
        name
        for name, file in MODULES.items()
        if {"pickle", "cloudpickle", "dill", "joblib"}
        & {module.split(".")[0] for module, _ in imported(file)}
    }
    assert not named
