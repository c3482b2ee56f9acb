"""The aliases of a data set's subjects, so that edits can carry them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memedit.errors import DatasetError, MissingResourceError
from memedit.evaluation.cases import EditCase, Metric
from memedit.types import EditRequest

ALIASING = "Subject_Aliasing"
"""KnowEdit's name for prompts that name the subject by an alias."""


@dataclass(frozen=True, slots=True)
class Aliased:
    """Cases whose edits carry the aliases that their prompts use."""

    cases: tuple[EditCase, ...]
    found: int
    """Prompts whose alias could be told."""
    unclear: tuple[str, ...]
    """Where the others stand; they are left out of ``cases``."""


def with_aliases(cases: Sequence[EditCase]) -> Aliased:
    """Give every edit the aliases that the prompts of ``Subject_Aliasing`` call its subject by.

    The files do not list them: an alias is what stands in place of the subject in a prompt that is
    otherwise worded as the edit's.  Prompts worded differently do not tell, and are left out.
    """
    out = []
    found = 0
    unclear: list[str] = []
    for case in cases:
        names: dict[int, dict[str, None]] = {number: {} for number in range(len(case.requests))}
        kept = []
        for place, probe in enumerate(case.probes):
            if probe.metric is not Metric.PORTABILITY or probe.kind != ALIASING:
                kept.append(probe)
                continue
            told = [
                (number, alias)
                for number, request in enumerate(case.requests)
                if (alias := alias_in(probe.prompt, request)) is not None
            ]
            if not told:
                unclear.append(f"{case.id}.{ALIASING}[{place}]")
                continue
            found += 1
            kept.append(probe)
            for number, alias in told:
                names[number].setdefault(alias)
        requests = tuple(
            _called(request, tuple(names[number])) for number, request in enumerate(case.requests)
        )
        out.append(replace(case, requests=requests, probes=tuple(kept)))
    return Aliased(tuple(out), found, tuple(unclear))


def read_aliases(path: Path) -> dict[str, tuple[str, ...]]:
    """Read aliases by subject from a JSON object: ``{"Mongolia": ["the Land of Blue Sky"]}``.

    Raises:
        MissingResourceError: the file is not there or cannot be read.
        DatasetError: it holds something else.

    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingResourceError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON: {error}") from error
    wanted = 'expected a JSON object of aliases by subject: {"NAME": ["ALIAS", ...]}'
    if not isinstance(found, dict):
        raise DatasetError(f"{path} holds a {type(found).__name__}; {wanted}")
    for name, aliases in found.items():
        listed = isinstance(aliases, list)
        if not listed or not all(isinstance(one, str) and one.strip() for one in aliases):
            raise DatasetError(f"{path} gives {name!r} {aliases!r}; {wanted}")
    return {name: tuple(aliases) for name, aliases in found.items()}


def known_by(
    cases: Sequence[EditCase], aliases: Mapping[str, Sequence[str]]
) -> tuple[tuple[EditCase, ...], int]:
    """Give every edit the aliases of its subject; tell how many edits have some."""
    given = sum(request.subject in aliases for case in cases for request in case.requests)
    out = []
    for case in cases:
        requests = (_called(one, aliases.get(one.subject, ())) for one in case.requests)
        out.append(replace(case, requests=tuple(requests)))
    return tuple(out), given


def _called(request: EditRequest, aliases: Sequence[str]) -> EditRequest:
    if not aliases:
        return request
    return request.model_copy(
        update={"aliases": tuple(dict.fromkeys((*request.aliases, *aliases)))}
    )


def alias_in(prompt: str, request: EditRequest) -> str | None:
    """Return what stands in a prompt where the edit's own has the subject.

    ``None`` where the prompt is worded differently, or names the subject itself.

    >>> edit = EditRequest(prompt="The anthem of Arda is", subject="Arda", target_new="Song")
    >>> alias_in("The anthem of the Land of Rain is", edit)
    'the Land of Rain'
    """
    head, named, tail = (part.strip() for part in request.prompt.partition(request.subject))
    head, tail = head.casefold(), tail.casefold().rstrip(" ?.")
    text = prompt.strip().rstrip(" ?.")
    low = text.casefold()
    if not named or len(low) != len(text) or not low.startswith(head) or not low.endswith(tail):
        return None
    alias = text[len(head) : len(text) - len(tail)].strip() if tail else text[len(head) :].strip()
    if not alias or alias.casefold() == request.subject.casefold():
        return None
    if len(alias.split()) > max(6, 2 * len(request.subject.split())):
        return None  # more than a name: the prompt goes on otherwise
    return alias
