"""Settings of the library: arguments first, then the environment, then `.env`.

Every setting has a default that works alone, so `RouterSettings()` needs
nothing. What is wrong is refused here by the variable's name, before anything
starts. Keys and providers are not settings: they come from the configuration
file or from `OPENAI_API_KEY` and its like.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from apikeyrouter.errors import ConfigurationError, EncryptionError
from apikeyrouter.infrastructure.config.pasted import trimmed
from apikeyrouter.infrastructure.config.values import nearest
from apikeyrouter.infrastructure.utils.encryption import EncryptionService

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_PREFIX = "APIKEYROUTER_"


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _trim(value: object) -> object:
    return trimmed(value) if isinstance(value, str) else value


_Pasted = Annotated[SecretStr | None, BeforeValidator(_trim)]


def _shared(name: str) -> Any:
    """Read an unprefixed variable that other programs use too."""
    return AliasChoices(name, name.upper())


class RouterSettings(BaseSettings):
    """Settings by keyword, by `APIKEYROUTER_*` variable, or by `.env` in the working directory.

    Attributes:
        encryption_key: 32 bytes as url-safe base64, or several with commas between: the first
            seals, all open. One may be `passphrase:` and a passphrase. `None` makes one that is
            lost with the process, so stored keys cannot be opened after a restart.
        management_api_key: Opens the management API, or several with commas between; where there
            is neither this nor `management_read_key` it stays closed.
        management_read_key: The same, for whoever may look and change nothing.
        config_file: The configuration file to read when none is named.
        max_decisions: Routing decisions kept for `explain`; the oldest go first.
        max_transitions: State transitions kept; the oldest go first.
        default_cooldown_seconds: First rest of a throttled key whose provider named no moment,
            1 by default; each further refusal in a row doubles it. Asked to slow down, or where
            calls in flight cost too much, a key rests twice as long.
        quota_default_cooldown_seconds: Rest of an exhausted key whose provider named no moment.
        max_queue_wait_seconds: Longest wait for capacity; 0 turns waiting off.
        request_timeout_seconds: Longest life of one request.
        translation: What becomes of parts of a request that a provider's dialect cannot carry:
            `strict` refuses the request, `lenient` leaves them out.

    Raises:
        ConfigurationError: A value is wrong; one line for each.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=".env",
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    encryption_key: _Pasted = Field(default=None, min_length=1)
    management_api_key: _Pasted = Field(default=None, min_length=1)
    management_read_key: _Pasted = Field(default=None, min_length=1)
    config_file: str | None = None
    max_decisions: int = Field(default=10_000, ge=0)
    max_transitions: int = Field(default=10_000, ge=0)
    default_cooldown_seconds: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    quota_default_cooldown_seconds: float = Field(default=900.0, gt=0, allow_inf_nan=False)
    max_queue_wait_seconds: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    request_timeout_seconds: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    translation: Literal["strict", "lenient"] = "strict"
    log_level: Annotated[LogLevel, BeforeValidator(_upper)] = "INFO"
    # Addresses may hold a password.
    mongodb_url: SecretStr | None = Field(default=None, validation_alias=_shared("mongodb_url"))
    mongodb_database: str = Field(
        default="apikeyrouter", validation_alias=_shared("mongodb_database"), min_length=1
    )
    redis_url: SecretStr | None = Field(default=None, validation_alias=_shared("redis_url"))
    environment: str = Field(default="development", validation_alias=_shared("environment"))

    def __init__(self, **values: Any) -> None:
        _refuse_unknown(values, tuple(type(self).model_fields))
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(explain(error, variable_for)) from None
        except UnicodeDecodeError:
            raise ConfigurationError(".env should be UTF-8 text") from None

    @classmethod
    def load(cls, config: "RouterSettings | Mapping[str, Any] | None" = None) -> Self:
        """Return settings from what a user handed in; `None` reads the environment alone.

        Raises:
            ConfigurationError: A value is wrong or a name unknown; one line for each.
        """
        if isinstance(config, cls):
            return config
        if config is None:
            return cls()
        if isinstance(config, Mapping):
            return cls(**config)
        raise ConfigurationError(
            f"config should be RouterSettings, a dict or None, not {type(config).__name__}"
        )

    @field_validator("management_api_key", "management_read_key")
    @classmethod
    def _keys_are_listed(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None and not all(_listed(keys)):
            raise ValueError("should be keys with a comma between, and none of them empty")
        return keys

    @field_validator("management_read_key")
    @classmethod
    def _keys_differ(cls, keys: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        full = info.data.get("management_api_key")
        if keys is not None and set(_listed(keys)) & set(_listed(full)):
            raise ValueError("has a key of management_api_key, which may do everything")
        return keys

    @field_validator("encryption_key")
    @classmethod
    def _key_is_usable(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            try:
                EncryptionService.of_setting(key.get_secret_value())
            except EncryptionError as error:
                raise ValueError(str(error)) from None
        return key


def _listed(keys: SecretStr | None) -> list[str]:
    return [key.strip() for key in keys.get_secret_value().split(",")] if keys is not None else []


_UNPREFIXED = ("mongodb_url", "mongodb_database", "redis_url", "environment")

# Pydantic's name of a mistake -> what would be right; {…} is filled from the error's context.
_ADVICE = {
    "bool_parsing": "should be true or false",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "finite_number": "should be a finite number",
    "greater_than": "should be above {gt}",
    "greater_than_equal": "should be {ge} or more",
    "less_than_equal": "should be {le} or less",
    "literal_error": "should be one of {expected}",
    "string_type": "should be text",
    "string_too_short": "should not be empty",
    "too_short": "should not be empty",
    "value_error": "{error}",
}


def variable_for(field: str) -> str:
    """Return the environment variable of a setting."""
    return field.upper() if field in _UNPREFIXED else f"{_PREFIX}{field.upper()}"


def _refuse_unknown(values: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = [name for name in values if name not in known and not str(name).startswith("_")]
    if unknown:
        lines = [f"unknown setting '{name}'{nearest(str(name), known)}" for name in unknown]
        raise ConfigurationError("\n".join(lines))


def explain(error: ValidationError, variable_for: Callable[[str], str]) -> str:
    """Return one line for each mistake; values are left out, for they may be secrets."""
    lines = []
    for mistake in error.errors(include_input=False, include_url=False):
        field = str(mistake["loc"][0]).lower() if mistake["loc"] else "settings"
        advice = _ADVICE.get(mistake["type"])
        text = advice.format(**mistake.get("ctx", {})) if advice else mistake["msg"]
        lines.append(f"{field} ({variable_for(field)}): {text}")
    return "\n".join(lines)
