"""What a configuration file says, once it is known to be right.

Plain frozen facts with their defaults; units are seconds, bytes, whole
requests or tokens, and US dollars. What binds one entry to another (a key to
its provider, a target to a provider) is checked where a file is read.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from apikeyrouter.domain.components.key_manager import derived_id
from apikeyrouter.infrastructure.config.pasted import trimmed
from apikeyrouter.infrastructure.config.values import (
    BaseUrl,
    BudgetPeriod,
    ByteCount,
    LedgerUrl,
    Limits,
    Name,
    Networks,
    ObjectiveName,
    Patterns,
    Seconds,
    Secret,
    Share,
    StoreUrl,
    Targets,
    Text,
    TimeZone,
    Weights,
    Whole,
    blank_to_empty,
    is_loopback,
)

ProviderKind = Literal["openai", "anthropic", "gemini", "azure", "vertex"]
BudgetScopeName = Literal["global", "per_provider", "per_key", "per_route", "per_client", "per_tag"]


Dollars = Annotated[Decimal, Field(ge=0, le=10**6, allow_inf_nan=False)]


class _Fact(BaseModel):
    # A value that is refused may be a secret: no error repeats it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerConfig(_Fact):
    """Where the service listens and how long it is patient.

    Attributes:
        port: 0 lets the system choose.
        max_queue_wait: Longest wait for capacity before a 429, in seconds; 0 turns waiting off.
        request_timeout: Longest life of one request, in seconds.
        max_body: Larger request bodies are refused, as they come and unpacked; in bytes.
        max_inflight_body: Of all bodies that wait or are on their way together, in bytes; `None`
            takes a share of the memory that there is.
        sse_keepalive: Silence in a stream after which its client gets a comment, in seconds; 0
            sends none.
        trusted_proxies: Addresses and networks of proxies whose `X-Forwarded-For` is believed.
        workers: Processes that serve together.
    """

    host: Text = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65535)] = 8000
    max_queue_wait: Seconds = 30.0
    request_timeout: Annotated[Seconds, Field(gt=0)] = 600.0
    max_body_bytes: ByteCount = Field(
        default=32 * 2**20, validation_alias=AliasChoices("max_body", "max_body_bytes")
    )
    max_inflight_body: ByteCount | None = None
    sse_keepalive: Seconds = 0.0
    trusted_proxies: Networks = Field(default_factory=list)
    workers: Annotated[Whole, Field(ge=1, le=256)] = 1


class RoutingConfig(_Fact):
    """What a choice should be good at: one objective by name, or several by weight."""

    objective: ObjectiveName | None = None
    weights: Weights = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way_only(self) -> Self:
        if self.objective is not None and self.weights:
            raise ValueError("give either an objective or weights, not both")
        return self


class ProviderConfig(_Fact):
    """A provider: empty for one of the catalogue, else what it speaks and where it is.

    Attributes:
        models: Patterns; `None` asks the provider, and admits any when it does not say.
        stream_usage: Whether usage is asked for in streams; `None` where it is understood.
        first_token_timeout: A stream that carries nothing within these seconds has failed;
            `None` goes by the latency that was seen of each model, between 60 and 300 s.
        stall_timeout: A stream that is silent for these seconds has broken off; what was
            learned of each model there if not given, 120 s at first.
        dialects: What it speaks, preferred first; as its kind or its row says if `None`.
        admin_secret: Of an administrator, who may ask for accounts and limits.
        api_version: Of Azure's older paths, such as `2024-10-21`; `None` takes today's.
        proxy: URL of an HTTP proxy, or `direct`; `None` takes the environment's.
        ca_file: PEM file of authorities to trust besides the system's.
    """

    kind: ProviderKind | None = None
    base_url: BaseUrl | None = None
    models: Patterns | None = None
    stream_usage: bool | None = None
    first_token_timeout: Annotated[Seconds, Field(gt=0)] | None = None
    stall_timeout: Annotated[Seconds, Field(gt=0)] | None = None
    dialects: list[Name] | None = None
    api_version: Text | None = None
    admin_secret: Secret | None = None
    proxy: Annotated[Text | None, Field(repr=False)] = None
    ca_file: Text | None = None


class KeyConfig(_Fact):
    """One key of one provider.

    Attributes:
        id: Derived from provider and secret when not given; never `None` afterwards.
        scope: Keys that name the same scope share its limits.
        models: Patterns; `None` admits all of the provider's.
        weight: Share beside other keys, above zero.
        priority: Higher first; the next level is used when the first has no room.
        limits: By name (`rpm`, `tpm`, ...), what the provider is expected to allow.
        hard: The limits are caps too, which hold through a crash and over all processes.
    """

    id: Text | None = None
    provider: Name
    secret: Secret
    scope: Text | None = None
    models: Patterns | None = None
    weight: Share = 1.0
    priority: Whole = 0
    tags: dict[str, str] = Field(default_factory=dict)
    limits: Limits = Field(default_factory=dict)
    hard: bool = False

    @model_validator(mode="before")
    @classmethod
    def _derive_id(cls, data: object) -> object:
        if not isinstance(data, Mapping) or data.get("id") is not None:
            return data
        provider, secret = data.get("provider"), data.get("secret")
        plain = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        if isinstance(provider, str) and isinstance(plain, str):
            return {**data, "id": derived_id(provider, trimmed(plain))}
        return data


class ClientConfig(_Fact):
    """Who may call, with what share and which limits.

    Attributes:
        models: Model names, own names or patterns; `None` admits all.
        weight: Share of capacity beside other clients while they wait, above zero.
        priority: Higher is served first while waiting.
        hard: The limits are caps that hold through a crash and over all processes.
    """

    name: Text
    token: Secret
    models: Patterns | None = None
    limits: Limits = Field(default_factory=dict)
    hard: bool = False
    weight: Share = 1.0
    priority: Whole = 0


class BudgetConfig(_Fact):
    """An amount of US dollars that one scope may spend in one period.

    Attributes:
        id: Its name where it is told of.
        period: Of the calendar, or rolling when it is a duration such as `36h`.
        timezone: In which days, weeks and months end.
        alert_at: Shares of the amount at which it is told.
        when_over: What a soft one changes once it is spent.
        scope_id: Whom the scope means: a provider, a key's id, a client...; none for `global`.
        mode: `hard` refuses what would exceed the amount, `soft` reports it.
    """

    id: Text | None = None
    scope: BudgetScopeName = "global"
    scope_id: Text | None = None
    limit_usd: Annotated[Decimal, Field(gt=0, le=10**9, allow_inf_nan=False)]
    period: BudgetPeriod
    mode: Literal["hard", "soft"] = "hard"
    timezone: TimeZone = "UTC"
    alert_at: list[Annotated[Share, Field(le=1)]] = Field(default_factory=list)
    when_over: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _scope_is_named(self) -> Self:
        if self.scope == "global" and self.scope_id is not None:
            raise ValueError("a global budget has no scope_id: remove it or change the scope")
        if self.scope != "global" and self.scope_id is None:
            raise ValueError(f"a {self.scope} budget needs a scope_id that says whose it is")
        return self


class PriceConfig(_Fact):
    """What models of one provider cost, in US dollars per million tokens.

    Attributes:
        provider, models: Whose; names or patterns.
        cached_input_usd, cache_write_usd: As other input if not given.
        per_request_usd: Of every request, beside its tokens.
        max_output_tokens: The longest answer that these models give.
    """

    provider: Text
    models: Patterns = Field(default_factory=lambda: ["*"])
    input_usd: Dollars | None = None
    output_usd: Dollars | None = None
    cached_input_usd: Dollars | None = None
    cache_write_usd: Dollars | None = None
    per_request_usd: Dollars = Decimal(0)
    max_output_tokens: Annotated[Whole, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _is_a_price(self) -> Self:
        if self.input_usd is None and not self.per_request_usd:
            raise ValueError("give input_usd and output_usd, or per_request_usd")
        return self


class RouterConfig(_Fact):
    """The whole configuration; every part has a default, so an empty one is usable.

    Attributes:
        translation: What becomes of parts of a request that a provider's dialect cannot carry:
            refused by name (`strict`), or left out and told (`lenient`); `None` leaves it to
            the environment.
        unknown_price: Whether hard budgets let in what nobody knows the price of.
    """

    version: Literal[1] = 1
    server: ServerConfig = Field(default_factory=ServerConfig)
    # An address may hold a password.
    store: Annotated[StoreUrl, Field(repr=False)] = "memory://"
    ledger: LedgerUrl = "local"
    routing: RoutingConfig = Field(default_factory=RoutingConfig)
    providers: Annotated[dict[Name, ProviderConfig], BeforeValidator(blank_to_empty)] = Field(
        default_factory=dict
    )
    keys: list[KeyConfig] = Field(default_factory=list)
    models: dict[Text, Targets] = Field(default_factory=dict)
    clients: list[ClientConfig] = Field(default_factory=list)
    budgets: list[BudgetConfig] = Field(default_factory=list)
    prices: list[PriceConfig] = Field(default_factory=list)
    unknown_price: Literal["allow", "refuse"] = "allow"
    policies: list[dict[str, Any]] = Field(default_factory=list)
    translation: Literal["strict", "lenient"] | None = None


def refuse_open_service(host: str, *, has_clients: bool) -> str | None:
    """Return why a service must not listen on *host*, or `None` when it may.

    Without clients anybody who reaches the address spends the keys, so only
    loopback is open to all.
    """
    if has_clients or is_loopback(host):
        return None
    return (
        f"{host} can be reached from other machines: add at least one entry under clients, "
        "or listen on 127.0.0.1"
    )
