"""Which layers to edit: proposed from a causal trace, kept per model, with a rule for the rest."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.fingerprint import model_fingerprint
from memedit.modeling.trace import Kind, Position, Trace

REACH = 5
"""At most so many layers are edited together."""
SHARE = 0.25
"""A layer under the best one is edited with it while its effect is at least this share of it."""
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Site:
    """Where a model is edited, and how that was found."""

    layer: int
    """The one layer of methods that edit one (FT, ROME)."""
    layers: tuple[int, ...]
    """The layers of methods that spread an edit (MEMIT): contiguous, ending at ``layer``."""
    source: Literal["located", "rule"]
    """``located`` by causal tracing, or by the ``rule`` that stands in for it."""
    fingerprint: str
    """``model_fingerprint`` of the model."""
    effects: tuple[float, ...] = ()
    """Per layer the mean indirect effect of the MLP at the subject's last token; empty: a rule."""
    prompts_fingerprint: str = ""
    prompts: int = 0
    """How many known facts were traced."""
    sure: bool = True
    """Whether tracing told its layer from the others; ``False``: it is kept all the same."""


def propose(trace: Trace) -> Site:
    """Propose layers: where the MLP at the subject's last token has the largest indirect effect.

    The range goes down from there, over at most ``REACH`` layers, while the effect is at least
    ``SHARE`` of the largest.

    Raises:
        InvalidInputError: that site was not traced, or no layer brings the answer back at all.

    """
    profile = trace.profile(Kind.MLP, Position.SUBJECT_LAST)
    effects = tuple(cell.effect.mean for cell in profile)
    if len(effects) != trace.n_layers:
        raise InvalidInputError(
            "a site is proposed from the MLPs at the subject's last token, which were not traced; "
            "trace with kind 'mlp' and position 'subject_last'"
        )
    best = max(range(len(effects)), key=effects.__getitem__)
    if effects[best] <= 0:
        raise InvalidInputError(
            f"no layer's MLP brings the answer back (largest indirect effect {effects[best]:.4f} "
            f"over {trace.known} facts); trace more facts, or with a wider window"
        )
    first = best
    while first > max(0, best - REACH + 1) and effects[first - 1] >= SHARE * effects[best]:
        first -= 1
    return Site(
        layer=best,
        layers=tuple(range(first, best + 1)),
        source="located",
        fingerprint=trace.fingerprint,
        effects=effects,
        prompts_fingerprint=trace.prompts_fingerprint,
        prompts=trace.known,
    )


def rule(n_layers: int, fingerprint: str = "") -> Site:
    """Return what stands in where nothing was located: a quarter of the depth.

    The range is that layer and the two below it, as far as there are any.
    """
    layer = n_layers // 4
    return Site(layer, tuple(range(max(0, layer - 2), layer + 1)), "rule", fingerprint)


def default_site(
    model: nn.Module, fingerprint: str | None = None, cache: Path | None = None
) -> Site:
    """Return the site that was located for this very model, else the rule's; ``source`` says which.

    Args:
        model: a transformers causal language model.
        fingerprint: its ``model_fingerprint``, where it is known already.
        cache: folder of located sites that is looked into before the user's own.

    """
    own = fingerprint or model_fingerprint(model)
    n_layers = len(architecture(model).layers)
    place = cache if cache is not None and _path(own, cache).is_file() else None
    found = load_site(own, place)
    if found is None:
        return rule(n_layers, own)
    if not set(found.layers) <= set(range(n_layers)):
        raise InvalidInputError(
            f"{_path(own, place)} names layers {found.layers} of a model with {n_layers}; delete "
            "the file and run 'memedit locate' again"
        )
    return found


def sites_folder() -> Path:
    """Return this user's folder of located sites."""
    if os.name == "nt":
        home = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "memedit" / "sites"


def save_site(site: Site, cache: Path | None = None) -> Path:
    """Write a located site, in place of an older one of the same model; return the file."""
    path = _path(site.fingerprint, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(json.dumps({"format": _FORMAT, **asdict(site)}, indent=1), encoding="utf-8")
    fresh.replace(path)
    return path


def load_site(fingerprint: str, cache: Path | None = None) -> Site | None:
    """Return the site that was located for a model; ``None`` where none was.

    Raises:
        InvalidInputError: the file cannot be read as a site.

    """
    path = _path(fingerprint, cache)
    if not path.is_file():
        return None
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if stored.pop("format") != _FORMAT or stored["fingerprint"] != fingerprint:
            raise ValueError("it is of another format or another model")
        stored.update({name: tuple(stored[name]) for name in ("layers", "effects")})
        site = Site(**stored)
        if not site.layers or site.layer != site.layers[-1]:
            raise ValueError(f"layer {site.layer} does not end the layers {site.layers}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"{path} is no located site ({error}); delete it and run 'memedit locate' again"
        ) from error
    return site


def _path(fingerprint: str, cache: Path | None) -> Path:
    return (sites_folder() if cache is None else Path(cache)) / f"{fingerprint}.json"
