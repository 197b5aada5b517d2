"""A route: a model name compiled to levels of pools, in order of preference."""

from collections.abc import Iterator
from dataclasses import dataclass

from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.domain.routing.ranking import SMALL_POOL


@dataclass(slots=True, eq=False)
class Level:
    """Pools of equal rank."""

    pools: tuple[CandidatePool, ...]


@dataclass(slots=True, eq=False)
class Route:
    """A model name as asked, compiled: levels in order of preference.

    Attributes:
        grounds: What requests of it draw on: its scopes, or its providers where there are many.
    """

    model: str
    levels: tuple[Level, ...]
    grounds: frozenset[object] = frozenset()

    def pools(self) -> Iterator[CandidatePool]:
        """Yield the pools of all levels, in order of preference."""
        return (pool for level in self.levels for pool in level.pools)


def grounds_of(levels: tuple[Level, ...]) -> frozenset[object]:
    """Return what requests draw on that may go to any of *levels*."""
    pools = [pool for level in levels for pool in level.pools]
    if any(pool.pending for pool in pools) or sum(len(p.candidates) for p in pools) > SMALL_POOL:
        return frozenset(pool.provider_id for pool in pools)
    return frozenset(candidate.scope for pool in pools for candidate in pool.candidates)
