"""The small values that a configuration file is written in.

Durations, sizes, secrets, limits and URLs: each is read by one function that
raises `ValueError` with what would be right, and never repeats a secret.
Knows nothing of files, lines or environment variables.
"""

import ipaddress
import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from apikeyrouter.domain.limits.declared_limits import DECLARABLE
from apikeyrouter.infrastructure.config.pasted import trimmed
from apikeyrouter.infrastructure.state_store.stores import STORES, scheme_of

#: What a limit may be called.
LIMIT_NAMES = tuple(DECLARABLE)
OBJECTIVES = ("cost", "reliability", "fairness", "latency", "quality")
BUDGET_PERIODS = ("hourly", "daily", "weekly", "monthly", "total")

# A shorter period must not allow more than a longer one of the same dimension.
_NESTED_LIMITS = (
    ("rpm", "rph"), ("rph", "rpd"), ("rpm", "rpd"), ("tpm", "tph"), ("tph", "tpd"), ("tpm", "tpd"),
)  # fmt: skip
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_SIZE = re.compile(r"([0-9]+)\s*([a-z]*)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")
_MAX_SECONDS = 366 * 86400.0
_MAX_WHOLE = 10**15
# What a header can carry; the key manager takes no other either.
_LONGEST_SECRET = 4096


def nearest(name: str, known: tuple[str, ...] | list[str]) -> str:
    """Return `; did you mean 'x'?`, or nothing when no known name looks like *name*."""
    found = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"; did you mean '{found[0]}'?" if found else ""


def parse_duration(value: object) -> float:
    """Return seconds from `30s`, `250ms`, `1h30m`, or a bare number of seconds."""
    wanted = "should be a duration such as 30s, 250ms, 10m or 1h30m"
    if isinstance(value, str) and _DURATION.fullmatch(value):
        parts = _DURATION_PART.findall(value)
        seconds = sum(float(count) * _SECONDS[unit] for count, unit in parts)
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        seconds = float(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        # An integer may be too large to become a float; the bound below is lower still.
        seconds = float(value) if abs(value) <= _MAX_SECONDS else math.inf
    else:
        raise ValueError(wanted)
    if not 0 <= seconds <= _MAX_SECONDS:
        raise ValueError(f"{wanted}, from 0s to 366d")
    return seconds


def parse_size(value: object) -> int:
    """Return bytes from `32MB` (10^6), `32MiB` (2^20), or a bare number of bytes."""
    text = str(value).strip().lower() if not isinstance(value, bool) else ""
    match = _SIZE.fullmatch(text) if len(text) < 32 else None
    if match is None or match[2] not in _BYTES:
        raise ValueError("should be a size such as 32MB, 512KiB or a number of bytes")
    return int(match[1]) * _BYTES[match[2]]


def is_loopback(host: str) -> bool:
    """Say whether *host* can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    # A socket for both families shows IPv4 addresses as ::ffff:127.0.0.1.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


def _check_text(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("should be printable text, not blank")
    return value


def _check_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError("a name is made of letters, digits, '.', '_' and '-'")
    return value


def _trim_secret(value: object) -> object:
    plain = value.get_secret_value() if isinstance(value, SecretStr) else value
    return SecretStr(trimmed(plain)) if isinstance(plain, str) else value


def _check_secret(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    if not secret:
        raise ValueError("the secret is empty: write a value, ${ENV} or file:/run/secrets/name")
    if len(secret) > _LONGEST_SECRET:
        raise ValueError(f"the secret has more than {_LONGEST_SECRET:,} characters")
    if secret.lower().startswith("bearer "):
        raise ValueError("the secret starts with 'Bearer': leave that word out")
    if secret[0] in "[{":
        raise ValueError("should be one secret, not a list or other JSON")
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise ValueError(
            "the secret holds blanks, line breaks or characters outside ASCII: copy it again"
        )
    return value


def _check_limit_name(name: str) -> str:
    if name not in LIMIT_NAMES:
        known = ", ".join(LIMIT_NAMES)
        raise ValueError(f"unknown limit; known are {known}{nearest(name, LIMIT_NAMES)}")
    return name


def _check_nested(limits: dict[str, int]) -> dict[str, int]:
    for short, long in _NESTED_LIMITS:
        if short in limits and long in limits and limits[short] > limits[long]:
            raise ValueError(
                f"{short} {limits[short]} can never be reached below {long} {limits[long]}: "
                f"lower {short} or raise {long}"
            )
    return limits


def _check_network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value.strip()))
    except ValueError:
        pass
    try:
        meant = f"; did you mean {ipaddress.ip_network(value.strip(), strict=False)}?"
    except ValueError:
        meant = ""
    raise ValueError(f"should be an address or a network such as 10.0.0.5 or 10.0.0.0/8{meant}")


def _check_objective(name: str) -> str:
    if name not in OBJECTIVES:
        raise ValueError(f"should be one of {', '.join(OBJECTIVES)}{nearest(name, OBJECTIVES)}")
    return name


def _check_some_weight(weights: dict[str, float]) -> dict[str, float]:
    if weights and not any(weights.values()):
        raise ValueError("at least one weight should be above 0")
    return weights


def _check_base_url(value: str) -> str:
    wanted = "should be an http:// or https:// address such as https://host/v1"
    try:
        parts = urlsplit(value)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise ValueError(wanted) from None
    if not is_whole or not value.isprintable():
        raise ValueError(wanted)
    if "@" in parts.netloc:
        raise ValueError(f"{wanted}, without credentials: they belong to keys")
    if parts.query or parts.fragment or " " in value:
        raise ValueError(f"{wanted}, without '?', '#' or blanks")
    return value.rstrip("/")


def _check_store(value: str) -> str:
    if scheme_of(value) is None:
        known = ", ".join(f"{scheme}://" for scheme in STORES)
        raise ValueError(f"should be a store address that starts with one of {known}")
    return value


def _check_ledger(value: str) -> str:
    if value != "local" and not re.fullmatch(r"(rediss?|unix)://\S+", value):
        raise ValueError("should be local or an address such as redis://host:6379/0")
    return value


def _check_target(value: str) -> str:
    provider, separator, model = value.partition("/")
    if not (provider and separator and model) or "*" in value:
        raise ValueError("should be provider/model, such as openai/gpt-4.1-mini")
    return value


def _check_period(value: str) -> str:
    if value in BUDGET_PERIODS:
        return value
    try:
        is_rolling = parse_duration(value) > 0
    except ValueError:
        is_rolling = False
    if not is_rolling:
        known = ", ".join(BUDGET_PERIODS)
        raise ValueError(
            f"should be one of {known}, or a duration such as 36h{nearest(value, BUDGET_PERIODS)}"
        )
    return value


def _check_timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("should be a time zone such as UTC or Europe/Berlin") from None
    return value


def blank_to_empty(value: object) -> object:
    """Read `name:` with nothing behind it as an empty mapping."""
    if isinstance(value, Mapping):
        return {name: {} if entry is None else entry for name, entry in value.items()}
    return value


BudgetPeriod = Annotated[str, AfterValidator(_check_period)]
TimeZone = Annotated[str, AfterValidator(_check_timezone)]
Text = Annotated[str, AfterValidator(_check_text)]
Name = Annotated[str, AfterValidator(_check_name)]
Secret = Annotated[SecretStr, BeforeValidator(_trim_secret), AfterValidator(_check_secret)]
Seconds = Annotated[float, BeforeValidator(parse_duration)]
ByteCount = Annotated[int, BeforeValidator(parse_size), Field(gt=0, le=_MAX_WHOLE)]
Whole = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=-_MAX_WHOLE, le=_MAX_WHOLE)]
Share = Annotated[float, BeforeValidator(_refuse_bool), Field(gt=0, allow_inf_nan=False)]
Part = Annotated[float, BeforeValidator(_refuse_bool), Field(ge=0, allow_inf_nan=False)]
Amount = Annotated[int, BeforeValidator(_refuse_bool), Field(gt=0, le=_MAX_WHOLE)]
Limits = Annotated[
    dict[Annotated[str, AfterValidator(_check_limit_name)], Amount], AfterValidator(_check_nested)
]
ObjectiveName = Annotated[str, AfterValidator(_check_objective)]
Weights = Annotated[dict[ObjectiveName, Part], AfterValidator(_check_some_weight)]
Patterns = Annotated[list[Text], Field(min_length=1)]
Networks = list[Annotated[str, AfterValidator(_check_network)]]
BaseUrl = Annotated[str, AfterValidator(_check_base_url)]
StoreUrl = Annotated[str, AfterValidator(_check_store)]
LedgerUrl = Annotated[str, AfterValidator(_check_ledger)]
Target = Annotated[str, AfterValidator(_check_target)]
Targets = Annotated[list[Target], Field(min_length=1)]
