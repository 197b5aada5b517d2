"""What may be added by hand: aliases and policies, as a configuration file has them."""

import re
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from apikeyrouter import ConfigurationError
from apikeyrouter.service import (
    Name,
    ObjectiveName,
    Patterns,
    Seconds,
    Targets,
    Text,
    Whole,
    check_limits,
)

_HOURS = re.compile(r"([01][0-9]|2[0-4])-([01][0-9]|2[0-4]) (\S+)")
_LONGEST_ID = 200
_POLICY: JsonDict = {
    "id": "eu-only",
    "when": {"clients": ["search-team"], "models": ["gpt-*"], "hours": "08-18 Europe/Berlin"},
    "then": {"only": {"tags": {"region": "eu"}}, "max_cost_usd": 0.05, "fallback": "fast"},
    "priority": 10,
}


class Given(BaseModel):
    """What a user hands in: what is not known is refused by name."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class AliasFacts(Given):
    """What a name of one's own stands for.

    Attributes:
        targets: `provider/model`, in order of preference.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"targets": ["openai/gpt-4.1"]}]})

    targets: Annotated[Targets, Field(max_length=100)]


def _check_hours(value: str) -> str:
    found = _HOURS.fullmatch(value)
    if found is None or max(found[1], found[2]) > "24" or found[1] == found[2]:
        raise ValueError("should be hours and a time zone such as 08-18 Europe/Berlin")
    try:
        ZoneInfo(found[3])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"'{found[3][:60]}' is no time zone such as UTC or Europe/Berlin"
        ) from None
    return value


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


Amount = Annotated[float, BeforeValidator(_refuse_bool), Field(gt=0, allow_inf_nan=False)]
Tags = Annotated[dict[Text, str], Field(min_length=1)]


class PolicyWhen(Given):
    """Which requests a policy is for: all that fit everything that is named; none for all.

    Attributes:
        hours: Such as `08-18 Europe/Berlin`; `22-06 UTC` goes over midnight.
        tokens_above: Of the estimate of a request.
    """

    clients: Patterns | None = None
    models: Patterns | None = None
    tags: Tags | None = None
    hours: Annotated[str, AfterValidator(_check_hours)] | None = None
    tokens_above: Annotated[int, BeforeValidator(_refuse_bool), Field(ge=0, le=10**12)] | None = (
        None
    )


class PolicyTargets(Given):
    """Keys and providers: those that fit everything that is named."""

    providers: Patterns | None = None
    keys: Patterns | None = None
    tags: Tags | None = None

    @model_validator(mode="after")
    def _names_something(self) -> "PolicyTargets":
        if not self.model_dump(exclude_none=True):
            raise ValueError("should name providers, keys or tags")
        return self


class PolicyThen(Given):
    """What holds for such requests.

    Attributes:
        only: No other keys are used.
        never: These keys are not used.
        max_wait: Longest wait for capacity, in seconds or such as `5s`.
        fallback: A model or an alias that is asked for when nothing fits.
    """

    only: PolicyTargets | None = None
    never: PolicyTargets | None = None
    objective: ObjectiveName | None = None
    max_cost_usd: Amount | None = None
    max_wait: Seconds | None = None
    fallback: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "PolicyThen":
        if not self.model_dump(exclude_none=True):
            raise ValueError(f"should say at least one of {', '.join(type(self).model_fields)}")
        return self


class PolicyFacts(Given):
    """A policy as a configuration file has it, without its id.

    Attributes:
        priority: Of two that say different things, the higher one counts.
    """

    when: PolicyWhen = Field(default_factory=PolicyWhen)
    then: PolicyThen
    priority: Whole = 0


class PolicyChanges(Given):
    """What is to be changed of a policy: each of these whole; what is not named stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 20}]})

    when: PolicyWhen | None = None
    then: PolicyThen | None = None
    priority: Whole | None = None

    def facts(self) -> dict[str, Any]:
        """Return what is to be changed."""
        return self.model_dump(exclude_unset=True, exclude_none=True)


class NewPolicy(PolicyFacts):
    """A policy to add."""

    model_config = ConfigDict(json_schema_extra={"examples": [_POLICY]})

    id: Annotated[Name, Field(max_length=200)]


def fitting_name(value: str) -> str:
    """Return *value* if it can stand in an address; else raise `ValueError`."""
    if len(value) > _LONGEST_ID or any(character in "/?#%\\" for character in value):
        raise ValueError(f"should have up to {_LONGEST_ID} characters, without / ? # % and \\")
    if value in (".", ".."):
        raise ValueError("should be a name")
    return value


def changed_limits(value: dict[str, float | None]) -> dict[str, float | None]:
    """Return *value* if it names limits, null for one that ends; else raise `ValueError`."""
    try:
        check_limits({name: 1 if most is None else most for name, most in value.items()})
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return value
