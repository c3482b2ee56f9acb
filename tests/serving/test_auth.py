from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from memedit.config import ServeSettings
from memedit.errors import SettingsError
from memedit.serving.auth import (
    ForeignHeader,
    ForeignHost,
    Guard,
    Unauthorized,
    is_loopback,
    refuse_exposure,
)
from memedit.setting_types import ClientHeader

Pairs = list[tuple[bytes, bytes]]


def guard(**settings: Any) -> Guard:
    return Guard(ServeSettings(**settings))


def bearer(key: str) -> Pairs:
    return [(b"authorization", f"Bearer {key}".encode())]


def x_api_key(key: str) -> Pairs:
    return [(b"x-api-key", key.encode())]


@pytest.mark.parametrize("present", [bearer, x_api_key])
def test_admin_keys_open_the_edit_api_and_inference_keys_the_model_api(present: Any) -> None:
    doors = guard(admin_keys=("a1", "a2"), inference_keys=("i1",))
    doors.check_admin(present("a1"))
    doors.check_admin(present("a2"))
    doors.check_inference(present("i1"))
    for wrong in ("i1", "a", "a11", ""):
        with pytest.raises(Unauthorized):
            doors.check_admin(present(wrong))
    for wrong in ("a1", "I1", ""):
        with pytest.raises(Unauthorized):
            doors.check_inference(present(wrong))
    for any_key in ("a1", "i1"):
        doors.check_metrics(present(any_key))
    with pytest.raises(Unauthorized):
        doors.check_metrics([])


def test_the_scheme_is_read_in_any_case_and_other_schemes_are_no_key() -> None:
    doors = guard(inference_keys=("schlüssel",))
    doors.check_inference([(b"authorization", "bEARER schlüssel".encode())])
    with pytest.raises(Unauthorized):
        doors.check_inference([(b"authorization", "Basic schlüssel".encode())])


def test_without_keys_all_doors_are_open_to_this_machine() -> None:
    doors = guard()
    doors.check_inference([])
    doors.check_metrics([])
    for host in (b"127.0.0.1:8100", b"localhost:8100", b"[::1]:8100", b"10.0.0.7", b"[::1]"):
        doors.check_admin([(b"host", host)])
    doors.check_admin([])


@pytest.mark.parametrize(
    "host", [b"rebound.example:8100", b"localhost.example", b"127.0.0.1.nip.example"]
)
def test_without_keys_a_rebound_host_name_does_not_reach_the_edit_api(host: bytes) -> None:
    with pytest.raises(ForeignHost, match=r"serve\.admin_keys"):
        guard().check_admin([(b"host", host)])
    guard(admin_keys=("k",)).check_admin([(b"host", host), *bearer("k")])


def test_memedits_own_keys_never_travel_on() -> None:
    doors = guard(admin_keys=("a",), inference_keys=("i",))
    for own in (bearer("i"), x_api_key("i"), bearer("a")):
        assert doors.credentials(own) == []
    assert guard(admin_keys=("a",)).credentials(bearer("a")) == []


def test_the_clients_key_goes_on_where_memedit_asks_for_none() -> None:
    assert guard().credentials(bearer("client")) is None
    assert guard(admin_keys=("a",)).credentials(bearer("client")) is None


def test_the_upstreams_key_takes_the_place_of_the_clients() -> None:
    doors = guard(upstream_api_key="u", inference_keys=("i",))
    assert doors.credentials(bearer("i")) == [(b"authorization", b"Bearer u")]
    assert doors.credentials(x_api_key("i")) == [
        (b"authorization", b"Bearer u"),
        (b"x-api-key", b"u"),
    ]
    assert guard(upstream_api_key="u").credentials([]) == [(b"authorization", b"Bearer u")]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "memedit.example"])
def test_an_address_others_can_reach_needs_keys(host: str) -> None:
    with pytest.raises(SettingsError, match="ADMIN_KEYS"):
        refuse_exposure(ServeSettings(host=host))
    refuse_exposure(ServeSettings(host=host, admin_keys=("a",)))
    with pytest.raises(SettingsError, match="INFERENCE_KEYS"):
        refuse_exposure(ServeSettings(host=host, admin_keys=("a",), upstream_api_key="u"))
    refuse_exposure(
        ServeSettings(host=host, admin_keys=("a",), upstream_api_key="u", inference_keys=("i",))
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert is_loopback(host)
    refuse_exposure(ServeSettings(host=host, upstream_api_key="u"))


@pytest.mark.parametrize("name", ["admin_keys", "inference_keys"])
def test_an_empty_key_would_open_the_door_to_everyone(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        refuse_exposure(ServeSettings(**{name: (" ",)}))


def test_headers_that_are_not_for_clients_are_refused_whatever_they_say() -> None:
    every = [(f"x-memedit-{name}".encode(), b"1") for name in get_args(ClientHeader)]
    guard().check_options(every)
    doors = guard(client_headers="detail,namespace")
    doors.check_options([*every[1:2], *every[3:], (b"x-memedit-else", b"1"), (b"x-other", b"1")])
    for name in (b"x-memedit-bypass", b"x-memedit-threshold"):
        with pytest.raises(ForeignHeader, match=name.decode()):
            doors.check_options([(name, b"0")])
    with pytest.raises(ForeignHeader):
        guard(client_headers="").check_options(every[3:])
    with pytest.raises(ValidationError, match="by-pass"):
        guard(client_headers="by-pass")
