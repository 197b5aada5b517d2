"""Providers as they are added by hand: as a configuration file has them, without what is secret."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from apikeyrouter.infrastructure.config.model import ProviderConfig, ProviderKind
from apikeyrouter.service import BaseUrl, Name, Patterns, Seconds, Text
from apikeyrouter_proxy.api.added.shapes import Given, fitting_name

_LAB: JsonDict = {
    "id": "lab-a", "kind": "openai", "base_url": "http://127.0.0.1:4101/v1", "models": ["llama-*"],
}  # fmt: skip


class ProviderFacts(Given):
    """What a provider speaks and where it is; for one of the catalogue nothing need be said.

    Attributes:
        models: Patterns; null asks the provider, and admits any when it does not say.
        dialects: What it speaks, preferred first; as its kind or its row says if null.
        first_token_timeout, stall_timeout: In seconds or such as `30s`; learned if null.
        api_version: Of Azure's older paths.
    """

    kind: ProviderKind | None = None
    base_url: BaseUrl | None = None
    models: Patterns | None = None
    stream_usage: bool | None = None
    first_token_timeout: Annotated[Seconds, Field(gt=0)] | None = None
    stall_timeout: Annotated[Seconds, Field(gt=0)] | None = None
    dialects: list[Name] | None = None
    api_version: Text | None = None

    def config(self) -> ProviderConfig:
        """Return it as a configuration file would have it."""
        return ProviderConfig.model_validate(self.said())

    def said(self) -> dict[str, Any]:
        """Return what is said of it."""
        return self.model_dump(mode="json", exclude_none=True, include=set(FIELDS))


FIELDS = tuple(ProviderFacts.model_fields)


class NewProvider(ProviderFacts):
    """A provider to add."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LAB]})

    id: Name

    @field_validator("id")
    @classmethod
    def _id_fits_an_address(cls, value: str) -> str:
        return fitting_name(value)


class ProviderChanges(ProviderFacts):
    """What is to be changed of a provider; null says nothing of it any more."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"models": ["llama-3*"]}]})

    def over(self, before: ProviderFacts) -> ProviderFacts:
        """Return *before* with the changes."""
        changes = self.model_dump(mode="json", exclude_unset=True)
        return ProviderFacts.model_validate({**before.said(), **changes})
