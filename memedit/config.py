"""Settings: from flags, the environment, a file and defaults, in that order of precedence.

The file is TOML (``memedit.toml`` in the working directory, or ``--config FILE``); the environment
spells a setting ``MEMEDIT_SERVE__PORT``.  Unknown names are errors everywhere.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as EnvironmentUnreadable

from memedit.errors import SettingsError
from memedit.faults import each_of
from memedit.setting_types import ClientHeader, ClientHeaders, Secrets, Words
from memedit.types import DEFAULT_NAMESPACE, Namespace

DEFAULT_FILE = Path("memedit.toml")
_PASSWORD_IN_URL = re.compile(
    r"""((?<=://)[^:/?#@"\s]*:)[^@/"\s]+(?=@)|([?&]\w*(?:password|key|token)=)[^&"\s]+""", re.I
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MemorySettings(_Section):
    """The system of record."""

    url: str = Field("sqlite:///memedit.db", description="SQLAlchemy URL of the edit memory.")
    namespace: Namespace = Field(DEFAULT_NAMESPACE, description="Used when a request names none.")
    index: str = Field("auto", description="Vector index: auto, flat, faiss, ...")
    on_conflict: Literal["keep", "supersede", "reject"] = Field(
        "keep", description="An added edit contradicts a live one: keep both, supersede, reject."
    )
    enrich: Literal["none", "templates", "model"] = Field("none", description="Makes questions.")
    enrich_questions: int = Field(8, ge=1, le=32, description="Made for one edit at most.")
    enrich_model: str | None = Field(None, description="Asked for them; none: the first served.")


class EncoderSettings(_Section):
    """The sentence encoder."""

    model: str = Field("all-MiniLM-L6-v2", description="sentence-transformers name or path.")
    runtime: Literal["auto", "onnx", "torch"] = Field("auto", description="What computes it.")
    threads: int = Field(1, ge=1, le=256, description="Threads of one encoding.")
    cache_dir: Path | None = Field(None, description="Where exported encoders are kept.")


class ScopeSettings(_Section):
    """Which prompts an edit concerns."""

    classifier: str = Field("pair", description="Registry name of the scope classifier.")
    weights: Path | None = Field(
        None, description="A classifier's own folder, as 'memedit scope train' makes it."
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="Probability from which an edit fires; none: calibrated."
    )
    candidates: int = Field(5, ge=1, le=100, description="Candidate edits judged per prompt.")
    max_edits: int = Field(4, ge=1, le=64, description="Edits applied to one prompt at most.")
    gate: Literal["off", "names"] = Field(
        "off", description="names: a prompt with no part of an edit's names passes unencoded."
    )


class InContextSettings(_Section):
    """How an edit is written into a prompt."""

    chat: str = Field("statement", description="In-context method for chat turns.")
    completion: str = Field("ice", description="In-context method for completion prompts.")
    demonstrations: Path | None = Field(
        None, description="What ike shows: a folder of 'memedit demos build'; none: the shipped."
    )
    max_demonstrations: int = Field(32, ge=0, le=256, description="Shown by ike at most.")
    demonstration_tokens: int = Field(
        2_048, ge=0, description="Their length at most, in estimated tokens; fewer are shown then."
    )


class RoutingSettings(_Section):
    """What is done with a prompt that edits concern."""

    direct: Literal["in_context", "serac"] = Field(
        "in_context",
        description="A prompt that an edit answers by itself: serac asks the counterfactual model.",
    )
    dependent: Literal["in_context", "agent"] = Field(
        "in_context",
        description="A prompt that depends on edits through another hop: agent asks hop by hop.",
    )


class SeracSettings(_Section):
    """SERAC's counterfactual model, for routing.direct = serac."""

    folder: Path | None = Field(
        None, description="Of 'memedit train serac': for the embedded engine, and scope 'serac'."
    )
    url: str | None = Field(None, description="Base URL of the server of the model; any API.")
    model: str = Field("serac", description="The name that the server serves it under.")
    api_key: SecretStr | None = Field(None, description="Sent to that server.")
    timeout: float = Field(30.0, gt=0, description="Seconds for an answer; then in_context.")


class AgentSettings(_Section):
    """Multi-hop questions."""

    method: str = Field("pokemqa", description="pokemqa, mello or rewrite.")
    demonstrations: str | None = Field(
        None, description="File of worked questions, or none (a word); unset: the shipped ones."
    )
    max_hops: int | None = Field(None, ge=1, description="Unset: the method's own.")
    max_tokens: int = Field(160, ge=1, description="Of one call.")
    chat: bool = Field(False, description="Ask a chat model instead of continuing plain text.")
    timeout: float = Field(60.0, gt=0, description="Seconds for a question; then in_context.")


class ServeSettings(_Section):
    """The proxy."""

    host: str = "127.0.0.1"
    port: int = Field(8100, ge=0, le=65_535)
    upstream: str = Field("http://127.0.0.1:8000", description="The served model's base URL.")
    upstream_api_key: SecretStr | None = Field(
        None, description="Sent to the upstream instead of the client's own key."
    )
    admin_keys: Secrets = Field((), description="Keys of the edit API.")
    inference_keys: Secrets = Field((), description="Keys of the model API.")
    client_headers: ClientHeaders = Field(
        get_args(ClientHeader), description="x-memedit-... that clients may send; others: 403."
    )
    on_memory_failure: Literal["open", "closed"] = Field(
        "open", description="open: pass untouched and say so; closed: answer 503."
    )
    connect_timeout: float = Field(5.0, gt=0, description="Seconds.")
    read_timeout: float = Field(600.0, gt=0, description="Seconds between two chunks.")
    max_body_bytes: int = Field(32 * 2**20, gt=0)
    max_batch: int = Field(32, ge=1, description="Prompts encoded in one micro-batch at most.")
    forward: Words = Field((), description="Further upstream paths to forward.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"


_BASE_HINT: Final = "; 'memedit adapters fingerprint DIR' prints it of a checkpoint folder"


class AdapterSettings(_Section):
    """Adapters of the served model, chosen per request."""

    library: Path | None = Field(None, description="Folder of adapters; none: none are used.")
    base: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Served fingerprint.")
    served_library: str | None = Field(
        None, description="The library's folder as the served model's machine sees it."
    )
    loading: Literal["runtime", "resolver"] = Field(
        "runtime", description="Who loads: the proxy, or memedit's plugin in vLLM by itself."
    )
    codebooks: Literal["own", "any"] = Field("own", description="Prompts that a codebook gets.")
    max_loaded: int = Field(32, ge=1, description="Kept loaded; beyond, the least recently used.")
    load_timeout: float = Field(60.0, gt=0, description="Seconds.")
    retry_after: float = Field(30.0, ge=0, description="Seconds until a failed load is tried anew.")

    @model_validator(mode="after")
    def _base_is_known(self) -> Self:
        if self.library is not None and self.base is None:
            raise ValueError(
                "adapters.library is set and adapters.base is not: a server takes an adapter of "
                "another model without a word" + _BASE_HINT
            )
        return self


class EngineSettings(_Section):
    """The embedded engine."""

    model: Path | None = Field(None, description="Local checkpoint folder.")
    served_model_name: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65_535)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"


class Settings(BaseSettings):
    """All settings, validated and immutable."""

    model_config = SettingsConfigDict(
        env_prefix="MEMEDIT_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    memory: MemorySettings = MemorySettings()
    encoder: EncoderSettings = EncoderSettings()
    scope: ScopeSettings = ScopeSettings()
    incontext: InContextSettings = InContextSettings()
    routing: RoutingSettings = RoutingSettings()
    serac: SeracSettings = SeracSettings()
    agent: AgentSettings = AgentSettings()
    serve: ServeSettings = ServeSettings()
    adapters: AdapterSettings = AdapterSettings()
    engine: EngineSettings = EngineSettings()

    sections: ClassVar[tuple[str, ...]] = (
        "memory",
        "encoder",
        "scope",
        "incontext",
        "routing",
        "serac",
        "agent",
        "serve",
        "adapters",
        "engine",
    )

    @classmethod
    def read(
        cls, file: Path | None = None, flags: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Settings:
        """Read the effective settings.

        Args:
            file: a TOML file; ``None`` reads ``memedit.toml`` where there is one.
            flags: ``{section: {name: value}}`` from the command line; ``None`` values are ignored.

        Raises:
            SettingsError: names every setting that is unknown or out of range, and the file.

        """
        chosen = file if file is not None else DEFAULT_FILE
        from_file: dict[str, Any] = {}
        if file is not None or chosen.is_file():
            try:
                from_file = tomllib.loads(chosen.read_text(encoding="utf-8"))
            except OSError as error:
                raise SettingsError(f"cannot read the settings file {chosen}: {error}") from error
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise SettingsError(f"{chosen} is not valid TOML: {error}") from error
        given = {
            section: {name: value for name, value in values.items() if value is not None}
            for section, values in (flags or {}).items()
        }

        class WithFile(cls):  # type: ignore[misc, valid-type]
            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                dotenv_settings: PydanticBaseSettingsSource,
                file_secret_settings: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return (init_settings, env_settings, InitSettingsSource(settings_cls, from_file))

        _check_environment(cls.sections)
        try:
            settings = WithFile(**given)
        except EnvironmentUnreadable as error:
            raise SettingsError(f"the environment cannot be read: {error}") from None
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False)
            lines = [
                f"  {said}" + (_BASE_HINT if fault["loc"] == ("adapters", "base") else "")
                for said, fault in zip(each_of(faults), faults, strict=True)
            ]
            where = f" (file: {chosen})" if from_file else ""
            raise SettingsError(
                "settings are not valid" + where + ":\n" + "\n".join(lines)
            ) from None
        return Settings.model_construct(
            **{section: getattr(settings, section) for section in cls.sections}
        )

    @property
    def scope_weights(self) -> Path | None:
        """A classifier's own folder: ``scope.weights``, for ``serac`` else ``serac.folder``."""
        if self.scope.weights is None and self.scope.classifier == "serac":
            return self.serac.folder
        return self.scope.weights

    def shown(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values; secrets and passwords in URLs are masked."""
        text = _PASSWORD_IN_URL.sub(r"\1\2***", self.model_dump_json())
        shown: dict[str, Any] = json.loads(text)
        return shown


def _names_in(section: str) -> Iterable[str]:
    kind = Settings.model_fields[section].annotation
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else ()


def _check_environment(sections: tuple[str, ...]) -> None:
    """Refuse variables that look like settings but are none, so that a slip is not ignored.

    Raises:
        SettingsError: names the variable and how settings are spelled.

    """
    known = {f"{section}_{name}" for section in sections for name in _names_in(section)}
    for variable in sorted(os.environ):
        name = variable.lower().removeprefix("memedit_")
        if name == variable.lower():
            continue
        section, parted, _ = name.partition("__")
        slipped = name in known or any(one.partition("_")[2] == name for one in known)
        if (parted and section not in sections) or slipped:
            raise SettingsError(
                f"{variable} is no setting; one is spelled MEMEDIT_SECTION__NAME, with a section "
                f"out of {', '.join(sections)}, for example MEMEDIT_SERVE__PORT"
            )
