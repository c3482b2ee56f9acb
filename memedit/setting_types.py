"""Types of settings that are lists, as the environment spells them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, SecretStr
from pydantic_settings import NoDecode


def _listed(value: Any) -> Any:
    """Read a list as the environment spells it: a JSON list, or words with commas between."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            # without the value itself, which may be a key
            raise ValueError("this is no JSON list, nor words with commas between") from None
    return [word.strip() for word in value.split(",") if word.strip()]


Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
ClientHeader = Literal["bypass", "namespace", "threshold", "detail"]
ClientHeaders = Annotated[tuple[ClientHeader, ...], NoDecode, BeforeValidator(_listed)]
