"""The aliases that a data set's own prompts use, so that edits can carry them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
            request.model_copy(
                update={"aliases": tuple(dict.fromkeys((*request.aliases, *names[number])))}
            )
            for number, request in enumerate(case.requests)
        )
        out.append(replace(case, requests=requests, probes=tuple(kept)))
    return Aliased(tuple(out), found, tuple(unclear))


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
