"""`/config`: what the service was started with, and whether another file would do."""

import os
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from apikeyrouter import ConfigurationError
from apikeyrouter.infrastructure.config.file_loader import parse_config
from apikeyrouter.service import CATALOGUE
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.composition import masked, unsupported

_NAME = "config"
_EXAMPLE = "version: 1\nkeys:\n  - {provider: openai, secret: '${OPENAI_API_KEY}'}\n"
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {
                "schema": {"type": "string"},
                "example": _EXAMPLE,
            }
        },
    }
}


class Mistake(BaseModel):
    """What is wrong: where it stands, and what would be right."""

    line: int | None
    field: str
    message: str


class Verdict(BaseModel):
    """Whether a configuration could be used; with its secrets masked if it could."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"valid": True, "errors": [], "config": {"keys": []}}]}
    )

    valid: bool
    errors: list[Mistake]
    config: dict[str, Any] | None = Field(default=None)


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of the configuration."""
    configuration = Configuration(parts)
    router = APIRouter(prefix="/config", tags=["config"])
    router.add_api_route("", configuration.current, response_model=dict[str, Any])
    router.add_api_route(
        "/validate", configuration.validate, methods=["POST"], response_model=Verdict,
        openapi_extra=_BODY,
    )  # fmt: skip
    return router


class Configuration:
    """Answers what is asked of the configuration."""

    def __init__(self, parts: ManagementParts) -> None:
        self._config = parts.config

    async def current(self) -> dict[str, Any]:
        """Show the configuration that the service was started with, secrets masked."""
        return masked(self._config)

    async def validate(self, request: Request) -> Verdict:
        """Read a configuration as YAML or JSON without using it; nothing is stored."""
        body = await request.body()
        try:
            text = body.decode("utf-8-sig")
            facts = parse_config(
                text, name=_NAME, env=os.environ, known_providers=CATALOGUE, judge=unsupported
            )
        except UnicodeDecodeError:
            mistake = Mistake(line=None, field="", message="should be UTF-8 text")
            return Verdict(valid=False, errors=[mistake])
        except ConfigurationError as error:
            return Verdict(valid=False, errors=[_mistake(line) for line in str(error).splitlines()])
        return Verdict(valid=True, errors=[], config=masked(facts))


def _mistake(line: str) -> Mistake:
    """Read `config:LINE: FIELD: MESSAGE`; a line that is none is the message."""
    _, _, rest = line.partition(":")
    number, _, told = rest.partition(":")
    if not number.isdigit():
        return Mistake(line=None, field="", message=line)
    field, separator, message = told.strip().partition(": ")
    if not separator or " " in field:
        # Of the file as a whole; the colon is the sentence's own.
        field, message = "", told.strip()
    return Mistake(line=int(number), field=field, message=message)
