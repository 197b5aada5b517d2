"""Providers, each a row of data, and the kinds of them.

To add one, add a row: its kind, its address, how it names its limits in headers, how it
charges a request that it lets in, and whether limits are per model. A kind is an adapter
class, and what is presumed of a provider of which nothing else is known. Facts
were compiled from the providers' documentation and recorded replies in
November 2026; where one is weak, the adapter's own arguments override it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import DAY_S, MONTH_S
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.adapters import anthropic_adapter
from apikeyrouter.infrastructure.adapters.anthropic_adapter import AnthropicAdapter
from apikeyrouter.infrastructure.adapters.connection_options import ConnectionOptions
from apikeyrouter.infrastructure.adapters.http_adapter import HttpAdapter
from apikeyrouter.infrastructure.adapters.openai_adapter import ADMISSION, DIALECTS, OpenAIAdapter
from apikeyrouter.infrastructure.adapters.transport import Transport

_SUM = Admission(counts_cap=True)
_ACTUAL = Admission(counts_cap=False)


@dataclass(slots=True, frozen=True)
class ProviderRow:
    """One provider of the catalogue.

    Attributes:
        kind: Whose adapter it has, a name of `KINDS`.
        dialects: What it speaks, preferred first.
        tried_dialects: What it may speak besides.
        dialect: Of its rate-limit headers; `none` when it sends none.
        admission: How it charges tokens when it lets a request in.
        calendars: Period in seconds -> what limits of that period end with.
        stream_options: It tells usage in a stream only when asked to.
        models: Patterns of what it serves; `None` asks the provider.
    """

    base_url: str
    dialect: str = "openai"
    admission: Admission = _SUM
    calendars: Mapping[float, Calendar] = field(default_factory=dict)
    per_model: bool = True
    stream_options: bool = True
    models: tuple[str, ...] | None = None
    credential_header: str = "Authorization"
    credential_prefix: str = "Bearer "
    dialects: tuple[str, ...] = ("openai",)
    tried_dialects: tuple[str, ...] = ()
    kind: str = "openai"


@dataclass(slots=True, frozen=True)
class ProviderKind:
    """Providers that are spoken to alike.

    Attributes:
        unknown: What is presumed of one at an address that nothing is known of.
    """

    adapter: type[HttpAdapter]
    unknown: ProviderRow


_OPENAI_MODELS = (
    "gpt-*", "o1*", "o3*", "o4*", "chatgpt-*", "text-embedding-*", "davinci-*", "babbage-*",
    "ft:*", "omni-moderation-*", "text-moderation-*", "tts-*", "whisper-*", "dall-e-*",
    "codex-*", "computer-use-*", "sora-*",
)  # fmt: skip

_ANTHROPIC = ProviderRow(
    anthropic_adapter.BASE_URL, kind="anthropic", dialects=("anthropic",), dialect="anthropic",
    credential_header="x-api-key", credential_prefix="", stream_options=False,
    admission=anthropic_adapter.ADMISSION, models=("claude-*",),
)  # fmt: skip

CATALOGUE: Mapping[str, ProviderRow] = {
    "openai": ProviderRow(
        "https://api.openai.com/v1", admission=ADMISSION, models=_OPENAI_MODELS, dialects=DIALECTS
    ),
    "groq": ProviderRow(
        "https://api.groq.com/openai/v1", dialect="groq",
        admission=Admission(counts_cached=False), dialects=DIALECTS,
    ),
    "mistral": ProviderRow(
        "https://api.mistral.ai/v1", dialect="mistral", stream_options=False,
        calendars={MONTH_S: Calendar.MONTH_UTC},
    ),
    "deepseek": ProviderRow(
        "https://api.deepseek.com/v1", dialect="none", admission=_ACTUAL, models=("deepseek-*",)
    ),
    "xai": ProviderRow(
        "https://api.x.ai/v1", admission=_ACTUAL, models=("grok-*",), dialects=DIALECTS
    ),
    "together": ProviderRow(
        "https://api.together.ai/v1", dialect="together", admission=_ACTUAL
    ),
    "fireworks": ProviderRow(
        "https://api.fireworks.ai/inference/v1", dialect="fireworks", admission=_ACTUAL
    ),
    "openrouter": ProviderRow(
        "https://openrouter.ai/api/v1", dialect="openrouter", admission=_ACTUAL, per_model=False,
        calendars={DAY_S: Calendar.DAY_UTC}, dialects=DIALECTS,
    ),
    "cerebras": ProviderRow("https://api.cerebras.ai/v1", dialect="cerebras"),
    # Tells usage with every piece of a stream.
    "perplexity": ProviderRow(
        "https://api.perplexity.ai", dialect="none", admission=_ACTUAL, stream_options=False,
        models=("sonar*",),
    ),
    "anthropic": _ANTHROPIC,
}  # fmt: skip
#: Kind by the name that configuration files give it.
KINDS: Mapping[str, ProviderKind] = {
    "openai": ProviderKind(
        OpenAIAdapter, ProviderRow("", per_model=False, tried_dialects=DIALECTS)
    ),
    "anthropic": ProviderKind(
        AnthropicAdapter, replace(_ANTHROPIC, base_url="", models=None, per_model=False)
    ),
}


def make_adapter(
    name: str,
    *,
    base_url: str | None = None,
    dialects: tuple[str, ...] | None = None,
    stream_usage: bool | None = None,
    connection: ConnectionOptions | None = None,
    transport: Transport | None = None,
) -> HttpAdapter:
    """Build the adapter of a catalogue row, at another *base_url* if one is given.

    Other arguments are those of `adapter_of`.

    Raises:
        ConfigurationError: No such row, or the base URL is none.
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
            stream_usage=stream_usage, connection=connection, transport=transport,
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
            stream_usage=stream_usage, connection=connection, transport=transport,
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
    connection: ConnectionOptions | None = None,
    transport: Transport | None = None,
) -> HttpAdapter:
    """Build the adapter that *row* describes, at another *base_url* if one is given.

    Args:
        dialects: What it speaks, preferred first; as the row says if `None`.
        stream_usage: Whether usage is asked for in streams; as the row says if `None`.
    """
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
        connection=connection,
        transport=transport,
    )
