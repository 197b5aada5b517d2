"""Settings of the service alone; everything else is in the configuration file."""

import re
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from apikeyrouter import ConfigurationError
from apikeyrouter.service import explain

_DAY_S = 86_400
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#,]+/?", re.IGNORECASE)


class ProxySettings(BaseSettings):
    """Settings by environment variable of the same name, or by `.env`.

    Attributes:
        port: Port to listen on, in place of the file's; `None` leaves it there.
        cors_origins: Origins whose pages may call and read, such as `https://console.example.com`,
            with commas between; `*` names all.
        enable_hsts: Tell browsers that came by https to stay with it.
        shutdown_timeout_seconds: How long running requests may finish after SIGTERM.

    Raises:
        ConfigurationError: A value is wrong; one line for each.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8-sig", env_ignore_empty=True, extra="ignore"
    )

    port: int | None = Field(default=None, ge=0, le=65535)
    cors_origins: str = ""
    enable_hsts: bool = False
    shutdown_timeout_seconds: float = Field(default=30.0, ge=0, le=_DAY_S, allow_inf_nan=False)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`, one by one."""
        return tuple(part.strip() for part in self.cors_origins.split(",") if part.strip())

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_such(cls, text: str) -> str:
        for origin in filter(None, (part.strip() for part in text.split(","))):
            if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"'{origin}' is no origin: write it like https://console.example.com, "
                    "with commas between several"
                )
        return text

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(explain(error, str.upper)) from None
        except UnicodeDecodeError:
            raise ConfigurationError(".env should be UTF-8 text") from None
