"""Providers, each a row of data, and the kinds of them.

To add one, add a row in a file of `catalogue`: its kind, its address, what it speaks, how it
names its limits in headers, how it charges a request that it lets in, and whether limits are
per model. A kind is an adapter class, and what is presumed of a provider of which nothing
else is known. Facts were compiled from the providers' documentation and recorded replies in
November 2026; where one is weak, the adapter's own arguments override it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.adapters.anthropic_adapter import AnthropicAdapter
from apikeyrouter.infrastructure.adapters.catalogue.clouds import AZURE, CLOUDS, VERTEX
from apikeyrouter.infrastructure.adapters.catalogue.hosts import HOSTS
from apikeyrouter.infrastructure.adapters.catalogue.layout import Layout
from apikeyrouter.infrastructure.adapters.catalogue.local import LOCAL
from apikeyrouter.infrastructure.adapters.catalogue.makers import MAKERS
from apikeyrouter.infrastructure.adapters.catalogue.provider_row import ProviderRow
from apikeyrouter.infrastructure.adapters.clouds.azure_adapter import AzureAdapter
from apikeyrouter.infrastructure.adapters.clouds.vertex_adapter import VertexAdapter
from apikeyrouter.infrastructure.adapters.connection_options import ConnectionOptions
from apikeyrouter.infrastructure.adapters.gemini_adapter import GeminiAdapter
from apikeyrouter.infrastructure.adapters.http_adapter import HttpAdapter
from apikeyrouter.infrastructure.adapters.openai_adapter import DIALECTS, OpenAIAdapter
from apikeyrouter.infrastructure.adapters.transport import Transport

__all__ = [
    "CATALOGUE",
    "KINDS",
    "ProviderKind",
    "ProviderRow",
    "adapter_of",
    "custom_adapter",
    "make_adapter",
    "missing_address",
]


@dataclass(slots=True, frozen=True)
class ProviderKind:
    """Providers that are spoken to alike.

    Attributes:
        unknown: What is presumed of one at an address that nothing is known of.
    """

    adapter: type[HttpAdapter]
    unknown: ProviderRow


CATALOGUE: Mapping[str, ProviderRow] = {**MAKERS, **HOSTS, **CLOUDS, **LOCAL}
#: Kind by the name that configuration files give it.
KINDS: Mapping[str, ProviderKind] = {
    "openai": ProviderKind(
        OpenAIAdapter, ProviderRow("", per_model=False, tried_dialects=DIALECTS)
    ),
    "anthropic": ProviderKind(
        AnthropicAdapter,
        replace(MAKERS["anthropic"], base_url="", models=None, per_model=False),
    ),
    "gemini": ProviderKind(GeminiAdapter, replace(MAKERS["gemini"], base_url="", models=None)),
    "azure": ProviderKind(AzureAdapter, replace(AZURE, base_url="")),
    "vertex": ProviderKind(VertexAdapter, replace(VERTEX, base_url="")),
}


def make_adapter(
    name: str,
    *,
    base_url: str | None = None,
    dialects: tuple[str, ...] | None = None,
    stream_usage: bool | None = None,
    api_version: str | None = None,
    connection: ConnectionOptions | None = None,
    transport: Transport | None = None,
) -> HttpAdapter:
    """Build the adapter of a catalogue row, at another *base_url* if one is given.

    Other arguments are those of `adapter_of`.

    Raises:
        ConfigurationError: No such row, or the base URL is none, or needs one of the operator's.
    """
    row = CATALOGUE.get(name)
    if row is None:
        raise ConfigurationError(
            f"unknown provider '{name}'; known are {', '.join(CATALOGUE)}, "
            "any other needs kind and base_url"
        )
    try:
        return adapter_of(
            row, base_url=base_url, dialects=dialects,
            stream_usage=stream_usage, api_version=api_version, connection=connection,
            transport=transport,
        )  # fmt: skip
    except ConfigurationError as error:
        raise ConfigurationError(f"provider '{name}': {error}") from None


def custom_adapter(
    name: str,
    base_url: str,
    *,
    kind: str = "openai",
    row: ProviderRow | None = None,
    dialects: tuple[str, ...] | None = None,
    headers: Mapping[str, str] | None = None,
    stream_usage: bool | None = None,
    api_version: str | None = None,
    connection: ConnectionOptions | None = None,
    transport: Transport | None = None,
) -> HttpAdapter:
    """Build the adapter of a provider that is in no row.

    Args:
        name: For the message when *base_url* is wrong.
        kind: A name of `KINDS`.
        row: What is known of it besides its address; what its kind presumes if `None`.
        headers: Further headers of every call.

    Raises:
        ConfigurationError: No such kind, or the base URL is none; the message names the provider.
    """
    if kind not in KINDS:
        raise ConfigurationError(
            f"provider '{name}': unknown kind '{kind}'; known are {', '.join(KINDS)}"
        )
    try:
        return adapter_of(
            row or KINDS[kind].unknown, base_url=base_url, dialects=dialects, headers=headers,
            stream_usage=stream_usage, api_version=api_version, connection=connection,
            transport=transport,
        )  # fmt: skip
    except ConfigurationError as error:
        raise ConfigurationError(f"provider '{name}': {error}") from None


def adapter_of(
    row: ProviderRow,
    *,
    base_url: str | None = None,
    dialects: tuple[str, ...] | None = None,
    headers: Mapping[str, str] | None = None,
    stream_usage: bool | None = None,
    api_version: str | None = None,
    connection: ConnectionOptions | None = None,
    transport: Transport | None = None,
) -> HttpAdapter:
    """Build the adapter that *row* describes, at another *base_url* if one is given.

    Args:
        dialects: What it speaks, preferred first; as the row says if `None`.
        stream_usage: Whether usage is asked for in streams; as the row says if `None`.
        api_version: Of the older paths, where the kind has them.

    Raises:
        ConfigurationError: The base URL is missing or none, or something does not fit the kind.
    """
    if base_url is None and (missing := missing_address(row)):
        raise ConfigurationError(missing)
    return KINDS[row.kind].adapter(
        base_url or row.base_url,
        credential_header=row.credential_header,
        credential_prefix=row.credential_prefix,
        headers=headers,
        dialects=dialects or row.dialects,
        tried_dialects=() if dialects else row.tried_dialects,
        dialect=row.dialect,
        admission=row.admission,
        calendars=row.calendars,
        per_model=row.per_model,
        stream_options=row.stream_options if stream_usage is None else stream_usage,
        models=row.models,
        layout=_layout_of(row, base_url, api_version),
        connection=connection,
        transport=transport,
    )


def missing_address(row: ProviderRow) -> str:
    """Return what to say where the operator has given *row* no base URL; empty if it has one."""
    if not row.needs_address:
        return ""
    return f"base_url is missing: it should be like {row.base_url}, with your own in braces"


def _layout_of(row: ProviderRow, base_url: str | None, api_version: str | None) -> Layout:
    layout = row.layout
    if api_version is not None:
        if row.kind != "azure":
            raise ConfigurationError("api_version is for providers of kind azure only")
        layout = replace(layout, api_version=api_version)
    # A key for another address is not shown to a host that its operator has not named.
    if base_url is not None and layout.probe is not None and "://" in layout.probe.path:
        layout = replace(layout, probe=None)
    return layout
