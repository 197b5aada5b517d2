"""`/config`: what the service runs by, whether another file would do, and taking it up."""

import os
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from apikeyrouter import ConfigurationError
from apikeyrouter.infrastructure.config.file_loader import parse_config
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import CATALOGUE
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import FieldError, ProblemError
from apikeyrouter_proxy.composition import masked, unsupported
from apikeyrouter_proxy.configuration.changes import changes_between, plain

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


class Changed(BaseModel):
    """Names of entries of one kind that are not as before."""

    added: list[str]
    changed: list[str]
    removed: list[str]


class Reloaded(BaseModel):
    """What was taken up, by kind of entry; nothing if the file says what it said."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"changes": {"keys": {"added": ["k"], "changed": [], "removed": []}}}]
        }
    )

    changes: dict[str, Changed]


class Verdict(BaseModel):
    """Whether a configuration could be used.

    With its secrets masked if it could, and what it would change; what of it takes a restart is
    told when it is taken up.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"valid": True, "errors": [], "config": {"keys": []}}]}
    )

    valid: bool
    errors: list[Mistake]
    config: dict[str, Any] | None = Field(default=None)
    changes: dict[str, Changed] | None = Field(default=None)


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of the configuration."""
    configuration = Configuration(parts)
    router = APIRouter(prefix="/config", tags=["config"])
    router.add_api_route("", configuration.current, response_model=dict[str, Any])
    router.add_api_route(
        "/validate", configuration.validate, methods=["POST"], response_model=Verdict,
        openapi_extra=_BODY,
    )  # fmt: skip
    router.add_api_route("/reload", configuration.reload, methods=["POST"], response_model=Reloaded)
    return router


class Configuration:
    """Answers what is asked of the configuration."""

    def __init__(self, parts: ManagementParts) -> None:
        self._parts = parts

    async def current(self) -> dict[str, Any]:
        """Show the configuration that the service runs by, secrets masked."""
        return masked(self._parts.config)

    async def reload(self) -> Reloaded:
        """Read the configuration file again; it is taken up whole or not at all."""
        reloader = self._parts.reloader
        if reloader is None:
            raise ProblemError(
                409, "the service was started without a configuration file: there is none to read"
            )
        try:
            changes = await reloader.reload()
        except ConfigurationError as error:
            mistakes = [_mistake(line) for line in str(error).splitlines()]
            raise ProblemError(
                422, str(error), errors=[FieldError(m.field, m.message) for m in mistakes]
            ) from None
        return Reloaded(changes={kind: Changed(**names) for kind, names in plain(changes).items()})

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
        changes = plain(changes_between(self._parts.config, facts))
        return Verdict(
            valid=True, errors=[], config=masked(facts),
            changes={kind: Changed(**names) for kind, names in changes.items()},
        )  # fmt: skip


def _mistake(line: str) -> Mistake:
    """Read `config:LINE: FIELD: MESSAGE`; a line that is none is the message."""
    _, _, rest = line.partition(":")
    number, _, told = rest.partition(":")
    if not number.isdigit():
        field, _, message = line.partition(": ")
        if field.partition(".")[0] in RouterConfig.model_fields:
            return Mistake(line=None, field=field, message=message)
        return Mistake(line=None, field="", message=line)
    field, separator, message = told.strip().partition(": ")
    if not separator or " " in field:
        # Of the file as a whole; the colon is the sentence's own.
        field, message = "", told.strip()
    return Mistake(line=int(number), field=field, message=message)
