"""The methods of ``memedit eval --method``, each with settings of its own: ``grace:radius=3``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import typer

from memedit.cli.routed_edits import ALWAYS, ROUTER, SERAC
from memedit.cli.taught import settings_of_options
from memedit.errors import SettingsError, UnknownNameError

if TYPE_CHECKING:
    from memedit.evaluation.settings import Setting

UNEDITED, PROXY = "none", "proxy"


@dataclass(frozen=True, slots=True)
class Variant:
    """One method as it is to be measured."""

    name: str
    """What rows, reports and a run's folder call it: as it was given."""
    method: str
    """The registry's name; of an in-context one perhaps with ``+always``, of an adapter perhaps
    with ``+router``."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What differs from the method's defaults."""

    @property
    def bare(self) -> str:
        """The registry's name, without what says when an adapter is at work."""
        return self.method.removesuffix(ROUTER)


def asked_variants(
    method: str | None, scope: str, settings: Sequence[Setting], *, proxy: bool
) -> list[Variant]:
    """Return the methods of a command line.

    Args:
        method: what --method was given; with a proxy it may be left out.
        scope: what --scope was given: ``always`` is part of an in-context method's name.
        settings: in which they are to be measured.
        proxy: whether a proxy is measured.

    Raises:
        BadParameter: there are none, or no such scope.
        SettingsError: one of them cannot be read, or not be measured in these settings.

    """
    from memedit.evaluation.settings import Mode
    from memedit.incontext.catalog import METHODS

    if method is None and not proxy:
        raise typer.BadParameter("name at least one, for example none,ice.", param_hint="--method")
    variants = read_variants(method if method is not None else f"{UNEDITED},{PROXY}")
    if not variants:
        raise typer.BadParameter("names no method.", param_hint="--method")
    if scope not in ("router", "always"):
        raise typer.BadParameter(f"no scope {scope!r}; router or always.", param_hint="--scope")
    if scope == "always":
        in_context = set(METHODS.names()) - {UNEDITED}
        variants = [
            replace(one, name=f"{one.name}{ALWAYS}", method=f"{one.method}{ALWAYS}")
            if one.method in in_context
            else one
            for one in variants
        ]
    several = [str(one) for one in settings if one.mode is not Mode.SINGLE]
    if several and any(one.method.endswith(ALWAYS) for one in variants):
        raise SettingsError(
            f"methods with {ALWAYS} put every edit into every prompt, which only the single "
            f"setting allows; got --setting {','.join(several)}"
        )
    return variants


def read_variants(text: str) -> list[Variant]:
    """Read ``none,ft-m,grace:radius=3:search.steps=50``; what stands there twice counts once.

    A value is JSON or plain text; inside of brackets commas and colons are the value's own:
    ``lora:layers=[1,2]``.

    Raises:
        SettingsError: a setting is not of the form NAME=VALUE.

    """
    found: dict[str, Variant] = {}
    for given in _cut(text, ","):
        method, *settings = _cut(given, ":")
        name = ":".join([method, *settings])
        found[name] = Variant(name, method, settings_of_options(settings, None, "--method"))
    return list(found.values())


def check_variants(variants: Sequence[Variant], *, proxy: bool) -> None:
    """Refuse methods that are not there, or that cannot be measured in this way or so set.

    Raises:
        UnknownNameError: says what is there.
        SettingsError: a method that needs the model itself is to be measured behind a proxy, or
            one that has no settings is given some.
        InvalidInputError: a setting that the method does not have.
        MissingResourceError: settings of methods for which a package is missing.

    """
    from memedit.adapters.catalog import ADAPTERS
    from memedit.editing.catalog import EDITORS
    from memedit.incontext.catalog import METHODS

    in_context, baked = set(METHODS.names()) - {UNEDITED}, set(EDITORS.names())
    adapters = set(ADAPTERS.names())
    of_model = {SERAC, *in_context, *(f"{name}{ALWAYS}" for name in in_context), *baked, *adapters}
    of_model |= {f"{name}{ROUTER}" for name in adapters}
    here = {UNEDITED, PROXY} if proxy else {UNEDITED} | of_model
    everywhere = {UNEDITED, PROXY} | of_model
    for variant in variants:
        name = variant.method
        if name not in everywhere:
            near = difflib.get_close_matches(name, everywhere, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UnknownNameError(
                f"no method called {name!r}.{hint} In the context: "
                f"{', '.join(sorted(in_context))} (each also with {ALWAYS}); adapters: "
                f"{_names(adapters)} (each also with {ROUTER}); baked: {_names(baked)}; "
                f"besides: {UNEDITED}, {SERAC}, and {PROXY} with --proxy."
            )
        if name not in here:
            way = "--proxy" if proxy else "--model"
            raise SettingsError(
                f"method {name!r} cannot be measured with {way}; "
                f"with it there are: {', '.join(sorted(here))}"
            )
        if not variant.settings:
            continue
        if variant.bare not in adapters | baked:
            raise SettingsError(f"{name} takes no settings here; got {variant.name!r}")
        _check_settings(variant)


def _check_settings(variant: Variant) -> None:
    from memedit.engine.loading import need_models_extra

    need_models_extra()  # what names the settings needs torch
    from memedit.adapters.catalog import ADAPTERS, open_adapter
    from memedit.editing.catalog import open_editor

    if variant.bare in ADAPTERS.names():
        open_adapter(variant.bare, variant.settings)
    else:
        open_editor(variant.method, variant.settings)


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _cut(text: str, mark: str) -> Iterator[str]:
    """Yield what stands between marks outside of brackets, without what is empty."""
    depth, part = 0, ""
    for letter in text + mark:
        if letter == mark and depth <= 0:
            if part.strip():
                yield part.strip()
            part = ""
            continue
        depth += (letter in "[{") - (letter in "]}")
        part += letter
    if part.strip(mark + " "):
        raise SettingsError(f"--method {text!r}: a bracket is not closed")
