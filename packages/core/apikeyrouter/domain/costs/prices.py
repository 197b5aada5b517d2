"""Prices, exactly: whole nano-dollars, rounded up once a request.

A price that nobody has told is unknown, which is not zero: whatever asks gets `None`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from apikeyrouter.domain.key_slot import matches
from apikeyrouter.domain.models.token_usage import Usage

NANOS = 10**9
_MILLION = 10**6
#: Where neither the caller nor the price says how long an answer may get: no model gives more.
MOST_OUTPUT = 128_000
_MODELS_KEPT = 1_000


def nanos_of(usd: Decimal | float | int | str) -> int:
    """Return US dollars as nano-dollars; what is less than one is rounded up."""
    exact = usd if isinstance(usd, Decimal) else Decimal(str(usd))
    return int((exact * NANOS).to_integral_value(ROUND_CEILING))


def usd_of(nanos: float) -> Decimal:
    """Return nano-dollars as US dollars."""
    return Decimal(int(nanos)) / NANOS


@dataclass(slots=True, frozen=True)
class Price:
    """What models of one provider cost: nano-dollars per million tokens, and per request.

    Attributes:
        provider, models: Patterns of what it is the price of.
        cached, cache_write: Of input read from a prompt cache and written to one; as other
            input if `None`.
        most_output: The longest answer that these models give, in tokens.
    """

    provider: str
    models: tuple[str, ...]
    input: int | None = None
    output: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    per_request: int = 0
    most_output: int = MOST_OUTPUT

    def worst(self, input_tokens: int, output_cap: int | None) -> int | None:
        """Return the most that a request can cost; `None` where a price is missing.

        Args:
            output_cap: The caller's own, over all choices; the longest answer if `None`.
        """
        most = self.most_output if output_cap is None else output_cap
        each = self.input if self.input is None else max(self.input, self.cache_write or 0)
        return self._sum(((input_tokens, each), (most, self.output)))

    def cost(self, usage: Usage) -> int | None:
        """Return what *usage* costs; `None` where a price of a part of it is missing."""
        cached = min(usage.cached_tokens, usage.input_tokens)
        written = min(usage.cache_written_tokens, usage.input_tokens - cached)
        cached_price = self.input if self.cached is None else self.cached
        write_price = self.input if self.cache_write is None else self.cache_write
        return self._sum(
            (
                (usage.input_tokens - cached - written, self.input),
                (cached, cached_price),
                (written, write_price),
                (usage.output_tokens, self.output),
            )
        )

    def _sum(self, parts: Iterable[tuple[int, int | None]]) -> int | None:
        total = 0
        for tokens, price in parts:
            if tokens and price is None:
                return None
            total += tokens * (price or 0)
        # Whole division rounds down, of the negative up.
        return self.per_request - (-total // _MILLION)


class PriceBook:
    """Prices in order: the first that names a provider's model counts."""

    __slots__ = ("_found", "_prices")

    def __init__(self, prices: Iterable[Price] = ()) -> None:
        self._prices = tuple(prices)
        self._found: dict[tuple[str, str], Price | None] = {}

    def __len__(self) -> int:
        return len(self._prices)

    def price_of(self, provider: str, model: str) -> Price | None:
        """Return what a model costs there; `None` if nobody has told."""
        name = provider, model
        if name not in self._found:
            # Clients name models: what was looked up is bounded.
            if len(self._found) >= _MODELS_KEPT:
                self._found.clear()
            self._found[name] = next(
                (
                    price
                    for price in self._prices
                    if matches((price.provider,), provider) and matches(price.models, model)
                ),
                None,
            )
        return self._found[name]

    def cost(self, provider: str, model: str, usage: Usage) -> int | None:
        """Return what a request cost: by its provider's own word, else by its price."""
        if usage.cost_usd is not None:
            return nanos_of(usage.cost_usd)
        price = self.price_of(provider, model)
        return None if price is None else price.cost(usage)
