"""The control endpoint: counts what was served, and changes the world while it runs."""

import time
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from apikeyrouter_simulator.scenario import Condition, ScenarioError, check_condition
from apikeyrouter_simulator.world import World


class _ScopeChange(msgspec.Struct, forbid_unknown_fields=True):
    """What may be posted to a scope."""

    limits: dict[str, float] = {}
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
        except (ScenarioError, msgspec.DecodeError) as error:
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
        if what == "log" and method == "GET":
            query = parse_qs(scope["query_string"].decode())
            limit = int(query.get("limit", ["1000"])[0])
            return list(world.log)[-limit:]
        if what == "reset" and method == "POST":
            world.reset(now)
            return {"reset": True}
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
        if change.limits:
            numbers.append(Condition(kind="limit", scope=name, limits=change.limits))
        if change.requests_per_minute or change.tokens_per_minute or change.fraction:
            numbers.append(
                Condition(
                    kind="consume", scope=name, fraction=change.fraction,
                    requests_per_minute=change.requests_per_minute,
                    tokens_per_minute=change.tokens_per_minute,
                )
            )  # fmt: skip
        for condition in numbers:
            check_condition(condition, self._world.scenario)
        ids = [self._world.add(condition, now) for condition in numbers]
        self._world.advance(now)
        return {"ids": ids}
