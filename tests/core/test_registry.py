from __future__ import annotations

import ast
import gc
import importlib.metadata
import sys
from pathlib import Path

import pytest

from memedit.errors import InvalidInputError, UnknownNameError
from memedit.registry import Registry, register


class Part:
    """The base class of the parts in these tests."""


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[Part]:
    package = tmp_path / "fictional_parts"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text("class Part: ...\n")
    (package / "first.py").write_text(
        "from memedit.registry import register\n"
        "from fictional_parts.base import Part\n\n\n"
        '@register("first-part")\nclass First(Part): ...\n'
    )
    (package / "loose.py").write_text(
        'from memedit.registry import register\n\n\n@register("loose")\nclass Loose: ...\n'
    )
    (package / "explodes.py").write_text(
        'raise RuntimeError("imported")\n\n\n@register("explodes")\nclass Explodes: ...\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    base = __import__("fictional_parts.base", fromlist=["Part"]).Part
    yield Registry("test part", "fictional_parts", base, "fictional.parts")
    for name in [name for name in sys.modules if name.startswith("fictional_parts")]:
        del sys.modules[name]


def test_names_are_read_without_importing_the_parts(parts: Registry[Part]) -> None:
    assert parts.names() == ("explodes", "first-part", "loose")
    assert "fictional_parts.first" not in sys.modules


def test_get_imports_the_part_that_was_asked_for(parts: Registry[Part]) -> None:
    found = parts.get("first-part")
    assert (found.__name__, found.registered_name) == ("First", "first-part")  # type: ignore[attr-defined]


def test_unknown_name_says_what_is_there_and_what_is_near(parts: Registry[Part]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        parts.get("frist-part")
    message = str(caught.value)
    assert "Did you mean 'first-part'?" in message
    assert "test part" in message and "explodes, first-part, loose" in message


def test_a_part_of_another_kind_is_refused(parts: Registry[Part]) -> None:
    with pytest.raises(InvalidInputError, match=r"is no subclass of fictional_parts\.base\.Part"):
        parts.get("loose")


def entry(name: str, value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name=name, value=value, group="fictional.parts")


def test_other_distributions_add_parts(
    parts: Registry[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: [entry("theirs", "fictional_parts.first:First")],
    )
    assert "theirs" in parts.names()
    assert parts.get("theirs").__name__ == "First"


def test_a_name_claimed_twice_is_an_error(
    parts: Registry[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [entry("loose", "elsewhere:Loose")]
    )
    with pytest.raises(InvalidInputError, match="two test parts are called 'loose'"):
        parts.names()


def test_register_marks_only_the_class() -> None:
    @register("x")
    class X: ...

    assert X.registered_name == "x"  # type: ignore[attr-defined]


def test_other_marks_and_comments_may_stand_between(parts: Registry[Part], tmp_path: Path) -> None:
    (tmp_path / "fictional_parts" / "marked.py").write_text(
        "from memedit.registry import register\nfrom dataclasses import dataclass\n\n\n"
        "@register('marked')  # by its name\n@dataclass(\n    frozen=True,\n)\n# so far\n"
        "class Marked:\n"
        '    """As in ``@register("not-this")``."""\n\n\n'
        "@dataclass\nclass Other: ...\n"
    )
    assert parts.names() == ("explodes", "first-part", "loose", "marked")


def test_names_are_read_while_others_make_syntax_trees(parts: Registry[Part]) -> None:
    """A traceback that a finalizer formats makes one; CPython 3.11 then fails in both."""

    def interrupt(phase: str, info: dict[str, int]) -> None:
        ast.parse("x = ((1))")

    before = gc.get_threshold()
    gc.callbacks.append(interrupt)
    gc.set_threshold(20)
    try:
        for _ in range(20):
            assert parts.names() == ("explodes", "first-part", "loose")
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(interrupt)
