"""How one answer is: its tokens and its pace, drawn from a provider's distribution."""

import math
import random
from dataclasses import dataclass

from apikeyrouter_simulator.scenario import ReplyFacts


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: its tokens, seconds to the first of them, and tokens a second (0: at once)."""

    tokens: int
    is_cut_short: bool
    first_token_s: float
    tokens_per_s: float

    @property
    def lasts_s(self) -> float:
        """How long it takes to make the whole answer."""
        rest_s = self.tokens / self.tokens_per_s if self.tokens_per_s else 0.0
        return self.first_token_s + rest_s


def draw(facts: ReplyFacts, cap: int | None, chance: random.Random) -> Reply:
    """Draw an answer of at most *cap* tokens."""
    tokens = facts.tokens
    if facts.tokens_spread:
        tokens = max(1, round(tokens * _factor(facts.tokens_spread, chance)))
    first_token_s = facts.first_token_s
    if facts.first_token_spread:
        first_token_s *= _factor(facts.first_token_spread, chance)
        first_token_s = min(first_token_s, facts.first_token_max_s)
    made = min(tokens, cap or tokens)
    return Reply(made, cap is not None and cap <= tokens, first_token_s, facts.tokens_per_s)


def _factor(spread: float, chance: random.Random) -> float:
    return math.exp(chance.gauss(0.0, spread))
