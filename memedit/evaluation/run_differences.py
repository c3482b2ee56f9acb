"""What two runs do not share, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

_OPTIONS = MappingProxyType(
    {
        "max_tokens": "--max-tokens",
        "general": "--general",
        "fluent": "--fluency",
        "fluent_tokens": "length of the texts for fluency",
        "seed": "--seed",
    }
)
_NAMES = MappingProxyType(
    {
        "layout": "layout of its files, of another version of memedit",
        "form": "form of prompts",
        "cases": "choice of cases",
        "company": "number of cases whose edits are in force beside those asked",
        "trained": "trained part",
        "aliases_from": "--aliases-from",
        "dtype": "precision",
    }
)
NOT_RECORDED = "not recorded"
_HASH = re.compile(r"[0-9a-f]{32,}")


@dataclass(frozen=True, slots=True)
class Unlike:
    """One thing in which two runs differ."""

    what: str
    """E.g. `setting`, `--max-tokens`, `scope.threshold`."""
    now: str
    then: str


def unlike(name: str, now: Any, then: Any) -> list[Unlike]:
    """Say how one entry of two runs' manifests differs; nothing where it does not.

    Args:
        name: of the entry: `model`, `amounts` and so on.
        now: its value in this run.
        then: its value in the other one.

    """
    if now == then:
        return []
    if name in ("dataset", "model"):
        return _subject("data set" if name == "dataset" else name, now, then)
    if name == "cases":  # two hashes, which tell a reader nothing
        return [Unlike(_NAMES[name], "those of this command", "other ones of the data set")]
    if name == "layers":
        methods = [method for method in now if method in then and now[method] != then[method]]
        return [
            Unlike(f"layers of {one}", layers_said(now[one]), layers_said(then[one]))
            for one in methods
        ]
    if isinstance(now, Mapping) and isinstance(then, Mapping):
        return [
            Unlike(_key(name, key), _value(now, key), _value(then, key))
            for key in dict.fromkeys((*now, *then))
            if now.get(key) != then.get(key)
        ]
    what = _NAMES.get(name, name)
    if name == "trained":
        return [Unlike(what, _parts(now or ()), _parts(then or ()))]
    return [Unlike(what, _said(now), _said(then))]


def short_print(fingerprint: object) -> str:
    """Shorten a fingerprint that is a hash; any other, such as a proxy's address, is kept whole.

    >>> short_print("e335869fcc735aea1996606a88aae6759838a24f073ebc7945c68bfbc7d54466")
    'e335869fcc73'
    """
    text = str(fingerprint)
    return text[:12] if _HASH.fullmatch(text) else text


def layers_said(record: Mapping[str, Any]) -> str:
    """Say which layers a method edits, and where that comes from.

    >>> layers_said({"layers": [2, 3], "from": "located"})
    'layers 2, 3 (located)'
    """
    numbers = [str(number) for number in record.get("layers", ())]
    said = f"layer{'s' * (len(numbers) != 1)} {', '.join(numbers)}"
    whence = {"rule": "a rule: none was located", "settings": "as set"}
    found = str(record.get("from"))
    return f"{said} ({whence.get(found, found)})"


def _subject(what: str, now: Any, then: Any) -> list[Unlike]:
    """Tell two data sets or two models apart: by fingerprint, else by how much of it is asked."""
    a, b = (one if isinstance(one, Mapping) else {"name": one} for one in (now, then))
    if a.get("fingerprint") != b.get("fingerprint"):
        return [Unlike(what, _named(a), _named(b))]
    if "tasks" in a and "tasks" in b and a["tasks"] != b["tasks"]:
        return [Unlike("--task (what it holds)", _value(a, "tasks"), _value(b, "tasks"))]
    found = [
        Unlike(f"number of {key}", _value(a, key), _value(b, key))
        for key in ("cases", "records")
        if a.get(key) != b.get(key)
    ]
    # The name of a data set is how it was asked for: two ways to name the same files.
    return found or [Unlike(f"name of the {what}", _value(a, "name"), _value(b, "name"))]


def _named(about: Mapping[str, Any]) -> str:
    found = about.get("fingerprint")
    return f"{about.get('name')}" + (f" ({short_print(found)})" if found else "")


def _key(name: str, key: str) -> str:
    return _OPTIONS.get(key, key) if name == "amounts" else f"{name}.{key}"


def _value(record: Mapping[str, Any], key: str) -> str:
    return _said(record[key]) if key in record else NOT_RECORDED


def _said(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(inner)}" for key, inner in value.items()) or "nothing"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_said, value)) or "nothing"
    return str(value)


def _parts(trained: Sequence[Mapping[str, Any]]) -> str:
    """Name trained parts by what tells them apart: their folder and the data they learned from."""
    named = [
        f"{part['name']} (of {', '.join(str(file['file']) for file in part['files'])})"
        for part in trained
    ]
    return ", ".join(named) or "none"
