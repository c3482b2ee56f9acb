"""Keys: who may edit, who may ask, and which credentials go on to the upstream."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from typing import get_args

from pydantic import SecretStr

from memedit.config import ServeSettings
from memedit.errors import AccessError, SettingsError
from memedit.serving.asgi import RawHeaders, header
from memedit.setting_types import ClientHeader


class Unauthorized(AccessError):
    """No key, or none that opens this door."""

    code = "unauthorized"
    status = 401


class ForeignHost(AccessError):
    """An unguarded edit API was addressed by a name that is not this machine's own."""

    code = "foreign_host"
    status = 403


class ForeignHeader(AccessError):
    """A client asks for what this proxy does not let clients decide."""

    code = "header_not_allowed"
    status = 403


class Guard:
    """Compares presented keys with the configured ones, in constant time.

    Admin keys open the edit API, inference keys the model API; neither opens the other.  A door
    without keys is open; ``refuse_exposure`` sees to it that this happens on loopback only.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._admin = _bytes(settings.admin_keys)
        self._inference = _bytes(settings.inference_keys)
        self._upstream = settings.upstream_api_key
        self._refused = {
            f"x-memedit-{name}".encode()
            for name in get_args(ClientHeader)
            if name not in settings.client_headers
        }
        self.inference_guarded = bool(self._inference)

    def check_admin(self, headers: RawHeaders) -> None:
        """Let an administrator in, or raise.

        Raises:
            Unauthorized: an admin key is needed and none was presented.
            ForeignHost: no keys are set and the Host header is a domain name other than
                localhost, as it is when a web page reaches this port by DNS rebinding.

        """
        if self._admin:
            if not _any_of(self._admin, presented(headers)):
                raise Unauthorized(
                    "the edit API needs an admin key: send 'Authorization: Bearer KEY' "
                    "with one of serve.admin_keys"
                )
            return
        for name, value in headers:
            host = value.decode("latin-1")
            if name == b"host" and not _is_own_name(host):
                raise ForeignHost(
                    "without admin keys the edit API answers only to localhost and IP addresses, "
                    f"not to the host name {host!r}; set serve.admin_keys"
                )

    def check_inference(self, headers: RawHeaders) -> None:
        """Let a model client in, or raise ``Unauthorized``."""
        if self._inference and not _any_of(self._inference, presented(headers)):
            raise Unauthorized(
                "this model API needs a key: send 'Authorization: Bearer KEY' or 'x-api-key: KEY' "
                "with one of serve.inference_keys"
            )

    def check_options(self, headers: RawHeaders) -> None:
        """Let a request through that decides no more than clients may, or raise ``ForeignHeader``.

        Whatever the header says: one that changes nothing tells a client that it could.
        """
        for name, _ in headers:
            if name in self._refused:
                raise ForeignHeader(
                    f"the header {name.decode()} is not for clients of this proxy: leave it out "
                    "(its serve.client_headers names those that are)"
                )

    def check_metrics(self, headers: RawHeaders) -> None:
        """Let a reader of the metrics in: any key will do, and none is needed where none is set."""
        if self._inference and not _any_of(self._admin + self._inference, presented(headers)):
            raise Unauthorized("/metrics needs one of serve.inference_keys or serve.admin_keys")

    def credentials(self, headers: RawHeaders) -> list[tuple[bytes, bytes]] | None:
        """Return the credential headers to send upstream; ``None``: the client's, as they are.

        memedit's own keys never travel on.  ``serve.upstream_api_key`` takes the place of whatever
        the client sent, in the same headers.
        """
        if self._upstream is None:
            if not self._inference and not self._admin:
                return None
            own = self._admin + self._inference
            if not _any_of(own, presented(headers)):
                return None
            return []
        key = self._upstream.get_secret_value().encode()
        fresh = [(b"authorization", b"Bearer " + key)]
        if header(headers, b"x-api-key") is not None:
            fresh.append((b"x-api-key", key))
        return fresh


def refuse_exposure(settings: ServeSettings) -> None:
    """Refuse settings that would let strangers edit, or spend the upstream's key.

    Raises:
        SettingsError: says which setting to add.

    """
    for name in ("admin_keys", "inference_keys"):
        if any(not key.get_secret_value().strip() for key in getattr(settings, name)):
            raise SettingsError(f"serve.{name} holds an empty key; remove it or write one")
    if is_loopback(settings.host):
        return
    if not settings.admin_keys:
        raise SettingsError(
            f"serve.host is {settings.host}, which other machines can reach, and serve.admin_keys "
            "is empty: anyone could edit. Set serve.admin_keys (MEMEDIT_SERVE__ADMIN_KEYS="
            """'["..."]'), or serve on 127.0.0.1"""
        )
    if settings.upstream_api_key is not None and not settings.inference_keys:
        raise SettingsError(
            f"serve.host is {settings.host}, which other machines can reach, and "
            "serve.upstream_api_key would be used for anyone who asks. Set serve.inference_keys "
            """(MEMEDIT_SERVE__INFERENCE_KEYS='["..."]'), or serve on 127.0.0.1"""
        )


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def presented(headers: RawHeaders) -> list[bytes]:
    """Return the keys of a request: bearer tokens and ``x-api-key`` values."""
    keys: list[bytes] = []
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            keys.append(value[7:].strip())
        elif name == b"x-api-key":
            keys.append(value.strip())
    return keys


def _bytes(keys: Sequence[SecretStr]) -> tuple[bytes, ...]:
    return tuple(key.get_secret_value().encode() for key in keys)


def _any_of(allowed: tuple[bytes, ...], given: list[bytes]) -> bool:
    # Every pair is compared: how long it takes tells nothing about which key came near.
    found = False
    for key in given:
        for right in allowed:
            found |= hmac.compare_digest(key, right)
    return found


def _is_own_name(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
