from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.serving.paths import ADMIN, FORWARDED, READ, BadPath, NotForwarded, Paths, canonical

VLLM = Path(".venv-vllm/lib/python3.11/site-packages/vllm/entrypoints")
ANSWERED_BY_US = {"/metrics"}
NOT_THE_MODEL_SERVER = {"/ready", "/readyz", "/static"}


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/chat/completions",
        b"/v1/models",
        b"/v1/models/acme%2Fllama-3",
        b"/v1/responses/resp_0123/cancel",
        b"/v1/messages/count_tokens",
        b"/v1/embeddings",
        b"/v1/files/a%20file",
        b"/tokenize",
        b"/health",
        b"/version",
    ],
)
def test_the_public_surface_is_forwarded(path: bytes) -> None:
    assert Paths().check(path).startswith("/")


@pytest.mark.parametrize(
    "path", [*ADMIN, "/", "/nothing", "/v1", "/memedit/v2", "/admin/v1/models"]
)
def test_what_is_not_on_a_list_is_refused_and_admin_routes_are(path: str) -> None:
    with pytest.raises(NotForwarded):
        Paths().check(path.encode())


@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize(
    "disguise",
    [
        lambda p: p + "/",
        lambda p: p + "//",
        lambda p: "/" + p,
        lambda p: "/." + p,
        lambda p: "/x/.." + p,
        lambda p: "/v1/x/../.." + p,
        lambda p: "/v1/models/x%2F..%2F..%2F.." + p,
        lambda p: "/v1/%2e%2e" + p,
        lambda p: p.upper(),
        lambda p: p[:-1] + f"%{ord(p[-1]):02x}",
        lambda p: p[:-1] + f"%25{ord(p[-1]):02x}",
        lambda p: "/" + quote(p[1:], safe="").replace("_", "%5F"),
        lambda p: p + "%00",
        lambda p: p + "%0d%0a",
        lambda p: p + ";x=1",
        lambda p: p + "%3bx",
        lambda p: p.replace("/", "\\"),
        lambda p: p.replace("/", "%5c"),
        lambda p: p.replace("/", "%2F"),
        lambda p: p.replace("/", "%2f", 1),
        lambda p: p + "/below",
        lambda p: p + "%20/..",
        lambda p: "/v1" + p + "/../.." + p,
    ],
)
def test_no_disguise_gets_an_admin_route_through(path: str, disguise: object) -> None:
    disguised = disguise(path)  # type: ignore[operator]
    with pytest.raises((BadPath, NotForwarded)):
        Paths().check(disguised.encode())


@given(st.text(alphabet="/.%25eEfFcCpausel_ 2\\;v1x", max_size=24))
def test_whatever_is_forwarded_names_no_admin_route(tail: str) -> None:
    try:
        path = Paths(("/custom",)).check(("/" + tail).encode())
    except (BadPath, NotForwarded):
        return
    plain = path.rstrip("/").lower()
    assert not any(plain == root or plain.startswith(root + "/") for root in ADMIN)
    assert "//" not in path and "\\" not in path and "%" not in path
    assert plain.startswith("/v1/") or plain in FORWARDED or plain.startswith("/custom")


def test_further_paths_are_forwarded_when_named_but_admin_routes_never() -> None:
    paths = Paths(("/custom/", "/pause", "/v1/load_lora_adapter"))
    assert paths.check(b"/custom") == "/custom"
    assert paths.check(b"/custom/below") == "/custom/below"
    for path in (b"/customs", b"/pause", b"/v1/load_lora_adapter"):
        with pytest.raises(NotForwarded):
            paths.check(path)


@pytest.mark.parametrize("path", sorted(READ))
def test_a_wire_format_has_one_spelling_so_that_edits_cannot_be_gone_round(path: str) -> None:
    for other in (path + "/", path.upper(), path.title()):
        with pytest.raises(NotForwarded, match="did you mean"):
            Paths().check(other.encode())


def test_the_refusal_says_what_to_do() -> None:
    with pytest.raises(NotForwarded, match=r"serve\.forward"):
        Paths().check(b"/custom")
    with pytest.raises(NotForwarded, match="administers the served model"):
        Paths().check(b"/v1/load_lora_adapter")


@pytest.mark.parametrize("path", [b"/a%", b"/a%2", b"/a%zz", b"/a%ff", b"/\xc3\xa4", b"*", b""])
def test_what_is_no_plain_path_has_no_canonical_form(path: bytes) -> None:
    assert canonical(path) is None


@pytest.mark.skipif(not VLLM.is_dir(), reason="vLLM's environment is not here")
def test_every_route_of_vllm_is_either_forwarded_or_an_admin_route() -> None:
    found: set[str] = set()
    for source in VLLM.rglob("*.py"):
        for match in re.finditer(
            r"outer\.(?:get|post|put|delete|api_route|add_api_route)\(\s*[\"'](/[^\"']*)[\"']",
            source.read_text(encoding="utf-8"),
        ):
            found.add(match.group(1))
    assert {"/v1/chat/completions", "/pause", "/tokenize", "/v1/load_lora_adapter"} <= found
    paths = Paths()
    for path in sorted(found - ANSWERED_BY_US - NOT_THE_MODEL_SERVER):
        plain = re.sub(r"\{[^}]*\}", "x", path)
        is_admin = any(plain == root or plain.startswith(root + "/") for root in ADMIN)
        if is_admin:
            continue
        assert paths.check(plain.encode()) == plain, f"{path} is on neither list"
        assert plain.startswith("/v1/") or plain in FORWARDED
