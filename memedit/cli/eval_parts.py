"""What ``memedit eval`` measures with: the one place where evaluation meets the other rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from memedit.cli.output import progress
from memedit.cli.routed_edits import ALWAYS, ROUTER, SERAC, Remembering, routed_edits
from memedit.cli.variants import UNEDITED, Variant
from memedit.errors import MissingResourceError, SettingsError, UpstreamTimeout, UpstreamUnreachable
from memedit.types import EditRequest

if TYPE_CHECKING:
    import httpx2

    from memedit.client import Client
    from memedit.config import Settings
    from memedit.editing.base import Editor
    from memedit.evaluation.base_answers import BaseAnswers
    from memedit.evaluation.local import LocalModel
    from memedit.evaluation.proxy import Proxy, ProxyModel, Reply
    from memedit.evaluation.treatments import Sessions
    from memedit.scope.base import Encoder

Treatments = list[tuple[str, "Callable[[], Sessions]"]]


def open_model(path: Path, *, form: str, dtype: str, device: str) -> LocalModel:
    """Load a checkpoint folder; nothing is downloaded.

    Raises:
        MissingResourceError: the folder, a file in it, the device or a package is not there.
        InvalidInputError: it cannot be used.

    """
    from importlib.util import find_spec

    missing = [name for name in ("torch", "transformers") if not find_spec(name)]
    if missing:
        raise MissingResourceError(
            f"measuring a checkpoint needs {' and '.join(missing)}, not installed here; "
            "run: pip install 'memedit[models]'"
        )
    from memedit.evaluation.local import LocalModel
    from memedit.modeling.loading_bar import without_loading_bar

    with without_loading_bar():
        return LocalModel.load(path, form=form, dtype=dtype, device=device)


def local_treatments(
    variants: Sequence[Variant],
    model: LocalModel,
    base: BaseAnswers,
    settings: Settings,
    stack: ExitStack,
    cache: Path | None = None,
) -> Treatments:
    """Return what makes each method's treatment; ``stack`` closes what they open."""
    from memedit.adapters.catalog import ADAPTERS, open_adapter
    from memedit.editing.catalog import EDITORS
    from memedit.evaluation.adapted import Adapted
    from memedit.evaluation.prompting import InContext
    from memedit.evaluation.routed import Routed
    from memedit.evaluation.treatments import Baked, Unedited

    adapters, baked = set(ADAPTERS.names()), set(EDITORS.names())
    encoders: list[Encoder] = []

    def encoder() -> Encoder:
        if not encoders:
            from memedit.scope.encoder import open_encoder

            encoders.append(Remembering(open_encoder(settings.encoder)))
        return encoders[0]

    def make(one: Variant) -> Sessions:
        if one.method == UNEDITED:
            return Unedited(base, model)
        if one.bare in adapters:
            adapter = open_adapter(one.bare, one.settings, prompt_form=prompt_form(model))
            adapter = adapter.bound(model.model)
            if one.bare == one.method:
                return Adapted(one.name, adapter, model)
            # what an in-context method would write for an edit is not read
            return Routed(one.name, adapter, model, routed_edits("ice", encoder(), settings, stack))
        if one.method in baked:
            editor = open_baked(one, model, cache)
            with progress(f"{one.name}: statistics") as tell:
                settled = editor.resolved(model.model, model.tokenizer, tell)
            return Baked(one.name, settled, model)
        if one.method == SERAC:
            return _serac(one, model, encoder(), settings, stack)
        context = model.max_length
        edits = routed_edits(one.method, encoder(), settings, stack, context)
        return InContext(one.name, edits, model)

    return [(one.name, lambda one=one: make(one)) for one in variants]  # type: ignore[misc]


def _serac(
    one: Variant, model: LocalModel, encoder: Encoder, settings: Settings, stack: ExitStack
) -> Sessions:
    """Return SERAC with the parts of `serac.folder`; both models are put prompts alike."""
    from memedit.evaluation.counterfactual import Serac, TwoModels

    folder = _serac_folder(settings)
    dtype = str(model.model.dtype).removeprefix("torch.")
    form, device = model.prompts.form.value, str(model.model.device)
    counterfactual = open_model(folder / "model", form=form, dtype=dtype, device=device)
    edits = routed_edits(one.method, encoder, settings, stack)
    return Serac(one.name, edits, TwoModels(model, counterfactual))


def _serac_folder(settings: Settings) -> Path:
    if settings.serac.folder is None:
        raise SettingsError(
            "--method serac needs serac.folder, as 'memedit train serac' writes it; for example "
            "MEMEDIT_SERAC__FOLDER=examples/atlas/serac"
        )
    return settings.serac.folder


def trained_folders(variants: Sequence[Variant], settings: Settings) -> list[Path]:
    """Return the folders of trained parts that the settings give to these methods."""
    from memedit.incontext.catalog import METHODS

    methods = {one.method for one in variants}
    routed = {name for name in METHODS.names() if name != UNEDITED} & {
        method.removesuffix(ALWAYS) for method in methods
    }
    routed |= {method for method in methods if method.endswith(ROUTER)}
    found = [settings.serac.folder if SERAC in methods else None]
    found.append(settings.scope_weights if routed else None)
    return [folder for folder in found if folder is not None]


def check_parts(variants: Sequence[Variant], settings: Settings) -> None:
    """Refuse settings with which a method's parts cannot be opened, before anything is loaded.

    Raises:
        UnknownNameError: the settings name a scope classifier that is not there.
        SettingsError: SERAC's parts are not named.

    """
    from memedit.incontext.catalog import METHODS
    from memedit.scope.catalog import CLASSIFIERS

    methods = {one.method.removesuffix(ALWAYS) for one in variants}
    routed = any(method.endswith(ROUTER) for method in methods)
    if routed or methods & (set(METHODS.names()) - {UNEDITED}):
        CLASSIFIERS.get(settings.scope.classifier)
    if SERAC in methods:
        _serac_folder(settings)


def open_baked(one: Variant, model: LocalModel, cache: Path | None = None) -> Editor[Any]:
    """Make a baked method that finds what was located and taken ahead for this model.

    Args:
        one: the method, with its settings.
        model: says how prompts are put.
        cache: where ``memedit locate`` and ``memedit moments`` kept it; ``None``: the user's own.

    """
    from memedit.cli.bake import statistics_of
    from memedit.cli.moments import TEXTS
    from memedit.editing.catalog import open_editor

    statistics = statistics_of(one.method, None, TEXTS, cache)
    form = prompt_form(model)
    return open_editor(one.method, one.settings, prompt_form=form, sites=cache, **statistics)


def edited_layers(
    variants: Sequence[Variant], model: LocalModel, cache: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Say for every baked method which layers it edits and where they come from.

    Methods that search all layers are left out.

    Raises:
        SettingsError: a method, or an adapter, names a layer that the model does not have.

    """
    from memedit.adapters.catalog import ADAPTERS, open_adapter
    from memedit.editing.catalog import EDITORS
    from memedit.modeling.architecture import architecture

    baked, adapters = set(EDITORS.names()), set(ADAPTERS.names())
    found = {}
    for one in variants:
        try:
            if one.method in baked:
                found[one.name] = open_baked(one, model, cache).resolved(model.model)
            elif one.bare in adapters:
                layer = open_adapter(one.bare, one.settings).config.layer
                if layer is not None:
                    architecture(model.model).layer(layer)
        except SettingsError as error:
            raise SettingsError(f"--method {one.name}: {error}") from None
    return {
        name: {"layers": list(editor.layers), "from": editor.layer_from}
        for name, editor in found.items()
        if editor.layers
    }


def prompt_form(model: LocalModel) -> Any:
    """Return how editing and tracing are to put prompts, so that they mean what is asked."""
    from memedit.evaluation.prompts import Form
    from memedit.modeling.forms import AutoForm, chat_form

    if model.prompts.form is Form.COMPLETION:
        return None
    make = chat_form if model.prompts.form is Form.CHAT else AutoForm.of
    return make(model.tokenizer)


@dataclass(frozen=True)
class ClientStore:
    """The edit API of a proxy, as ``memedit.evaluation.proxy.EditStore``."""

    client: Client

    def add(self, requests: Sequence[EditRequest], namespace: str) -> list[str]:
        """Add edits; they are durable and in force when this returns."""
        return [edit.id for edit in self.client.add(requests, namespace=namespace)]

    def remove(self, ids: Sequence[str]) -> None:
        """Retract edits, several at a time: there may be thousands."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(self.client.retract, ids):
                pass


@contextmanager
def open_proxy(
    url: str, *, form: str, served: str | None, key: str | None, admin_key: str | None
) -> Iterator[tuple[ProxyModel, Proxy]]:
    """Open the way to a running proxy: its model API and its edit API."""
    import httpx2

    from memedit.client import Client
    from memedit.evaluation.proxy import Proxy, ProxyModel

    base = url.rstrip("/").removesuffix("/v1")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    limits = httpx2.Limits(max_connections=64)
    with (
        httpx2.Client(base_url=base, headers=headers, timeout=600.0, limits=limits) as http,
        Client(base, api_key=admin_key, timeout=600.0) as client,  # thousands of edits at once
    ):
        send = _sender(http)
        if send("GET", "/healthz", None, {}).status == 404:
            raise SettingsError(
                f"{base} answers, but is no memedit proxy (it has no /healthz); expected the "
                "address of a running 'memedit serve'"
            )
        model = ProxyModel(send, base, form=form, model=served)
        yield model, Proxy(model, ClientStore(client), f"eval-{uuid4().hex[:12]}")


def _sender(http: httpx2.Client) -> Callable[[str, str, bytes | None, Mapping[str, str]], Reply]:
    import httpx2

    from memedit.evaluation.proxy import Reply

    def send(method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        try:
            reply = http.request(method, path, content=body, headers=dict(headers))
        except httpx2.TimeoutException as error:
            raise UpstreamTimeout(f"no answer from {http.base_url} in time") from error
        except httpx2.HTTPError as error:
            raise UpstreamUnreachable(
                f"cannot reach a memedit proxy at {http.base_url}: {error}; "
                "start one with 'memedit serve'"
            ) from error
        named = {name.lower(): value for name, value in reply.headers.items()}
        return Reply(reply.status_code, named, reply.content)

    return send
