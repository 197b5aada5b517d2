"""Settings of the service alone; everything else is in the configuration file."""

from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from apikeyrouter import ConfigurationError
from apikeyrouter.infrastructure.config.settings import explain

_DAY_S = 86_400


class ProxySettings(BaseSettings):
    """Settings by environment variable of the same name, or by `.env`.

    Attributes:
        port: Port to listen on, in place of the file's; `None` leaves it there.
        shutdown_timeout_seconds: How long running requests may finish after SIGTERM.

    Raises:
        ConfigurationError: A value is wrong; one line for each.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8-sig", env_ignore_empty=True, extra="ignore"
    )

    port: int | None = Field(default=None, ge=0, le=65535)
    shutdown_timeout_seconds: float = Field(default=30.0, ge=0, le=_DAY_S, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(explain(error, str.upper)) from None
        except UnicodeDecodeError:
            raise ConfigurationError(".env should be UTF-8 text") from None
