"""Which upstream paths are forwarded, and which never are, under whatever disguise.

Under ``/v1`` everything goes through but the routes that administer the server; outside of it only
what is named here or in ``serve.forward``.  A path is judged by what the upstream would make of it
after decoding, and a path that has a second spelling is refused: whoever needs ``/./``, ``//`` or
``%70ause`` to say where he is going is not going where he says.

Source: the routers of vLLM 0.32 (``vllm/entrypoints/**/api_router.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from memedit.errors import MemeditError, NotFoundError
from memedit.routing import WIRE_FORMATS

OUR_PREFIX = "/memedit/"
"""Everything below is memedit's own and is never forwarded."""

READ = frozenset(wire.path for wire in WIRE_FORMATS)
"""The paths of the wire formats that memedit reads."""

GENERATING = frozenset(
    {
        "/v1/chat/completions/batch",
        "/v1/systemone",
        "/inference/v1/generate",
        "/generative_scoring",
        "/cohere/v2/chat",
    }
)
"""Forwarded, but they generate in a format that memedit does not read: their answers say so."""

FORWARDED = GENERATING | {
    "/classify",
    "/cohere/v2/chat/render",
    "/detokenize",
    "/docs",
    "/health",
    "/load",
    "/openapi.json",
    "/ping",
    "/pooling",
    "/redoc",
    "/rerank",
    "/score",
    "/tokenize",
    "/tokenizer_info",
    "/v2/embed",
    "/v2/rerank",
    "/version",
}
"""Outside ``/v1``: vLLM's public surface (``/metrics`` is answered together with our own)."""

ADMIN = (
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/memedit",
    "/abort_requests",
    "/adapters",
    "/collective_rpc",
    "/fault_tolerance",
    "/finish_weight_update",
    "/get_world_size",
    "/inference/v1/abort_requests",
    "/init_weight_transfer_engine",
    "/invocations",
    "/is_paused",
    "/is_scaling_elastic_ep",
    "/is_sleeping",
    "/kv_event_sources",
    "/pause",
    "/release_kv_cache_memory",
    "/reset_encoder_cache",
    "/reset_mm_cache",
    "/reset_prefix_cache",
    "/resume",
    "/scale_elastic_ep",
    "/server_info",
    "/shutdown_weight_transfer_engine",
    "/sleep",
    "/start_draft_weight_update",
    "/start_profile",
    "/start_weight_update",
    "/stop_profile",
    "/update_weight_version",
    "/update_weights",
    "/wake_up",
    "/weight_checker",
    "/weight_info",
)
"""Routes that administer the served model, with everything below them; ``serve.forward`` cannot
open them.  (``/invocations`` is no admin route, but a second, unguarded door to generation.)"""

_PLAIN = re.compile(r"/[A-Za-z0-9_.~!$&'()*+,:@=/-]*", re.ASCII)
"""Characters that stand for themselves in a path; ``;``, ``%`` and ``\\`` are looked at apart."""
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_NEVER_ESCAPED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%\\;"
)
_SLASH_MAY_BE_ESCAPED = "/v1/models/"
"""Names of models have slashes, and clients escape them there."""


class NotForwarded(NotFoundError):
    """The path is none that memedit forwards."""

    code = "not_forwarded"


class BadPath(MemeditError):
    """The path is not written in its plain form."""

    code = "bad_path"
    status = 400


class Paths:
    """Judges paths; ``forward`` are further ones to let through, each with what is below it."""

    def __init__(self, forward: Iterable[str] = ()) -> None:
        self._more = tuple("/" + path.strip("/").lower() for path in forward if path.strip("/"))

    def check(self, raw_path: bytes) -> str:
        """Return the decoded path if it may be forwarded.

        Args:
            raw_path: as it stands in the request line, without the query string.

        Raises:
            BadPath: the path has a plainer spelling.
            NotForwarded: it is memedit's own, administers the upstream, or is on no list.

        """
        path = canonical(raw_path)
        if path is None:
            raise BadPath(
                "this path is not in its plain form (needless escapes, empty or dot segments, "
                "or characters that do not belong in a path); ask for the plain path"
            )
        plain = path.rstrip("/").lower()
        if plain.startswith("/memedit"):
            raise NotForwarded("memedit has no such route; see /memedit/v1/openapi.json")
        if _is_below_any(plain, ADMIN):
            raise NotForwarded(
                f"{plain} administers the served model and is not forwarded by memedit; "
                "ask the upstream itself"
            )
        if path != plain and plain in READ:
            # Upstreams redirect or answer these, and the edits would not be applied.
            raise NotForwarded(f"no such path; did you mean {plain}?")
        if plain.startswith("/v1/") or plain in FORWARDED or _is_below_any(plain, self._more):
            return path
        raise NotForwarded(
            f"{plain or '/'} is not among the paths that memedit forwards; "
            "name it in serve.forward to let it through"
        )


def canonical(raw_path: bytes) -> str | None:
    """Return the decoded path, or ``None`` for one that could be spelled more plainly.

    >>> canonical(b"/v1/models/acme%2Fllama")
    '/v1/models/acme/llama'
    >>> canonical(b"/v1/../pause") is None
    True
    """
    try:
        text = raw_path.decode("ascii")
    except UnicodeDecodeError:
        return None
    if "%" in text:
        for escape in _ESCAPE.finditer(raw_path):
            code = int(escape.group(1), 16) if escape.group(1) else -1
            slash_is_fine = code == 0x2F and text.lower().startswith(_SLASH_MAY_BE_ESCAPED)
            if code < 0x20 or code == 0x7F or code in _NEVER_ESCAPED:
                return None
            if code == 0x2F and not slash_is_fine:
                return None
        try:
            text = unquote_to_bytes(raw_path).decode("utf-8")
        except UnicodeDecodeError:
            return None
        if not text.startswith("/"):
            return None
    elif _PLAIN.fullmatch(text) is None:
        return None
    if "//" in text:
        return None
    if "/." in text and any(segment in {".", ".."} for segment in text.split("/")):
        return None
    return text


def _is_below_any(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(root + "/") for root in roots)
