"""The control endpoint: counts what was served, and changes the world while it runs."""

import math
import time
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from apikeyrouter_simulator.quotas.limits import Dimension
from apikeyrouter_simulator.quotas.oracle import Goodput
from apikeyrouter_simulator.scenario import Condition, check_condition
from apikeyrouter_simulator.world import Active, World


class _ScopeChange(msgspec.Struct, forbid_unknown_fields=True):
    """What may be posted to a scope."""

    limits: dict[str, float] = {}
    factor: float = 1.0
    dimension: Dimension = "requests"
    amount: float = 0.0
    every_s: float | None = None
    per_second: float = 0.0
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    fraction: float = 0.0


class Control:
    """Answers `/_control/...`."""

    def __init__(self, world: World, clock: Callable[[], float] = time.time) -> None:
        self._world = world
        self._clock = clock

    def answer(
        self, method: str, path: str, scope: MutableMapping[str, Any], body: bytes
    ) -> tuple[int, bytes]:
        """Return status and JSON."""
        what, _, rest = path.removeprefix("/_control/").partition("/")
        try:
            data = self._act(method, what, rest, scope, body)
        except (ValueError, msgspec.DecodeError) as error:
            return 400, msgspec.json.encode({"error": str(error)})
        if data is None:
            return 404, msgspec.json.encode({"error": f"nothing at {method} {path}"})
        return 200, msgspec.json.encode(data)

    def _act(
        self, method: str, what: str, rest: str, scope: MutableMapping[str, Any], body: bytes
    ) -> dict[str, Any] | list[Any] | None:
        world, now = self._world, self._clock()
        if what == "stats" and method == "GET":
            return world.stats(now)
        if what == "goodput" and method == "GET":
            clients = parse_qs(scope["query_string"].decode()).get("clients")
            return goodput_data(world.goodput(now, clients=int(clients[0]) if clients else None))
        if what == "log" and method == "GET":
            query = parse_qs(scope["query_string"].decode())
            limit = int(query.get("limit", ["1000"])[0])
            return list(world.log)[-limit:]
        if what == "reset" and method == "POST":
            world.reset(now)
            return {"reset": True}
        if what == "conditions" and method == "GET":
            return [_condition_data(active) for active in world.conditions]
        if what == "conditions" and method == "POST":
            condition = msgspec.json.decode(body, type=Condition)
            check_condition(condition, world.scenario)
            number = world.add(condition, now)
            world.advance(now)
            return {"id": number}
        if what == "conditions" and method == "DELETE":
            world.remove(int(rest) if rest else None, now)
            return {"removed": rest or "all"}
        if what == "scopes" and method == "POST":
            return self._change_scope(rest, body, now)
        return None

    def _change_scope(self, name: str, body: bytes, now: float) -> dict[str, Any]:
        """Change a scope's limits, or let somebody else draw on it, for good."""
        change = msgspec.json.decode(body, type=_ScopeChange)
        numbers = []
        if change.limits or change.factor != 1.0:
            numbers.append(
                Condition(kind="limit", scope=name, limits=change.limits, factor=change.factor)
            )
        if any(
            (change.amount, change.per_second, change.requests_per_minute,
             change.tokens_per_minute, change.fraction)
        ):  # fmt: skip
            numbers.append(
                Condition(
                    kind="consume", scope=name, fraction=change.fraction,
                    requests_per_minute=change.requests_per_minute,
                    tokens_per_minute=change.tokens_per_minute,
                    dimension=change.dimension, amount=change.amount, every_s=change.every_s,
                    per_second=change.per_second,
                )
            )  # fmt: skip
        for condition in numbers:
            check_condition(condition, self._world.scenario)
        ids = [self._world.add(condition, now) for condition in numbers]
        self._world.advance(now)
        return {"ids": ids}


def _condition_data(active: Active) -> dict[str, Any]:
    written = msgspec.to_builtins(active.condition)
    return {"id": active.number, "left": active.left, **written}


def goodput_data(goodput: Goodput) -> dict[str, Any]:
    """Return it as plain data; an ideal without bound is null."""
    scopes = {
        f"{provider}/{name}": {
            "served": bound.served,
            "ideal": _finite(bound.ideal),
            "bound_by": bound.bound_by,
        }
        for (provider, name), bound in goodput.bounds.items()
    }
    ideal = _finite(goodput.ideal)
    return {"served": goodput.served, "ideal": ideal, "share": goodput.share, "scopes": scopes}


def _finite(number: float) -> float | None:
    return number if number < math.inf else None
