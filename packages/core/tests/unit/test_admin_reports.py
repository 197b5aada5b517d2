"""What administrators are told, against a server that answers in each provider's shape."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter import ApiKeyRouter
from apikeyrouter.domain.interfaces.wire import WireResponse
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.infrastructure.adapters.admin.catalogue import ADMIN_APIS
from apikeyrouter.infrastructure.adapters.admin.report import AdminApiError, AdminReport, keys_like
from apikeyrouter.infrastructure.adapters.http_adapter import HttpAdapter
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.adapters.provider_catalogue import CATALOGUE, make_adapter
from apikeyrouter.keys.admin_reports import AdminReports

pytestmark = pytest.mark.unit

ADMIN = "sk-admin-1"
KEYS = {"a": "sk-ant-api03-R2Daaaaaaaaaaaigaa", "b": "sk-ant-api03-X9Zbbbbbbbbbbbqqqq"}


def _limits(**limits: int) -> list[dict[str, Any]]:
    return [{"type": name, "value": value} for name, value in limits.items()]


def _group(kind: str, models: list[str] | None, name: str = "", **limits: int) -> dict[str, Any]:
    group = {"type": kind, "id": f"rlg_{kind}{name}"}
    return {"type": "rate_limit", "group": group, "models": models, "limits": _limits(**limits)}


ANTHROPIC = {
    "/v1/organizations/me": {"id": "org-1", "type": "organization", "name": "us"},
    "/v1/organizations/api_keys?limit=1000&status=active": {
        "data": [
            {
                "id": "k1", "partial_key_hint": "sk-ant-api03-R2D...igaa",
                "scope": {"type": "workspace", "workspace_id": "wrkspc_1"},
            },
        ],
        "has_more": True, "last_id": "k1",
    },
    "/v1/organizations/api_keys?limit=1000&status=active&after_id=k1": {
        "data": [{"id": "k2", "partial_key_hint": "sk-ant-api03-X9Z...qqqq", "workspace_id": None}],
        "has_more": False, "last_id": "k2",
    },
    "/v1/organizations/workspaces/wrkspc_1/rate_limits?include_inherited=true": {
        "data": [
            _group(
                "model_group", ["claude-sonnet-9", "claude-sonnet-9-latest", "claude-muse-9"], "_1",
                requests_per_minute=50, input_tokens_per_minute_cache_aware=30000,
                output_tokens_per_minute=8000, phases_of_the_moon=4,
            ),
            _group("token_count", None, requests_per_minute=100),
            _group("files", None, requests_per_minute=7),
        ],
        "next_page": None,
    },
    "/v1/organizations/rate_limits": {
        "data": [_group("model_group", ["claude-sonnet-9"], "_1", requests_per_minute=4000)],
        "next_page": "p2",
    },
    "/v1/organizations/rate_limits?page=p2": {
        "data": [_group("model_group", ["claude-opus-9"], "_2", requests_per_minute=1000)],
        "next_page": None,
    },
}  # fmt: skip
OPENAI = {
    "/v1/organization/projects?limit=100": {
        "data": [{"id": "proj_1"}, {"id": "proj_2"}], "has_more": False, "last_id": "proj_2",
    },
    "/v1/organization/projects/proj_1/api_keys?limit=100&owner_project_access=any": {
        "data": [{"id": "key_1", "redacted_value": "sk-ant-********igaa"}], "has_more": False,
    },
    "/v1/organization/projects/proj_2/api_keys?limit=100&owner_project_access=any": {
        "data": [{"id": "key_2", "redacted_value": "sk-other...zzzz"}], "has_more": False,
    },
    "/v1/organization/projects/proj_1/rate_limits?limit=100": {
        "data": [
            {
                "id": "rl-1", "model": "gpt-9", "max_requests_per_1_minute": 500,
                "max_tokens_per_1_minute": 30000, "max_requests_per_1_day": 10000,
                "max_images_per_1_minute": 0,
            }
        ],
        "has_more": False, "last_id": "rl-1",
    },
}  # fmt: skip
OPENROUTER = {
    "/api/v1/key": {
        "data": {
            "label": "sk-or-v1-au7...890", "organization_id": "org-9", "limit": None,
            "free_model_daily_requests": {"used": 48, "limit": 50, "remaining": 2},
        }
    }
}  # fmt: skip
ANSWERS: dict[str, dict[str, Any]] = {
    "anthropic": ANTHROPIC, "openai": OPENAI, "openrouter": OPENROUTER,
}  # fmt: skip


class Administration:
    """Answers by path, and notes who asked for what."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[str, Any] = {}
        self.refusal: tuple[int, Any] | None = None
        self.asked: list[tuple[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        headers = request.headers
        self.asked.append(
            (request.path_qs, headers.get("x-api-key") or headers["authorization"].split()[-1])
        )
        if self.refusal is not None:
            return web.json_response(self.refusal[1], status=self.refusal[0])
        found = self.answers.get(request.path_qs)
        return web.json_response(
            found or {"error": {"message": "gone"}}, status=200 if found else 404
        )


@pytest.fixture
async def told() -> AsyncIterator[Administration]:
    administration, app = Administration(), web.Application()
    app.router.add_route("*", "/{path:.*}", administration.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    administration.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield administration
    await runner.cleanup()


def _adapter(name: str, told: Administration) -> HttpAdapter:
    path = CATALOGUE[name].base_url.partition("//")[2].partition("/")[2]
    return make_adapter(name, base_url=f"{told.url}/{path}")


class Scene:
    """A router with two keys of one provider, and its administrator."""

    def __init__(self, name: str, told: Administration) -> None:
        self.name, self.told = name, told
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL"})
        self.logged: list[tuple[str, dict[str, Any]]] = []
        told.answers = ANSWERS[name]
        self.reports = AdminReports(
            self.router.routes, self.router.quota_awareness_engine,
            clock=self.router.now, secrets={name: ADMIN}, log=self._log,
        )  # fmt: skip

    def _log(self, level: str, message: str, **facts: Any) -> None:
        self.logged.append((f"{level}: {message}", facts))

    async def __aenter__(self) -> "Scene":
        await self.router.register_provider(
            self.name, _adapter(self.name, self.told), models=("*",)
        )
        for key_id, secret in KEYS.items():
            await self.router.register_key(secret, self.name, {"id": key_id})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.reports.stop()
        await self.router.close()

    def look_up(self, model: str, endpoint: str = "chat/completions") -> None:
        """Have the router prepare for requests of *model*, as the first one does."""
        self.router.routes.route_for(Demand(model=model, request_id="r", endpoint=endpoint))

    def windows(self) -> dict[str, dict[str, tuple[float, str]]]:
        """Return capacity and source of each window, by scope and by what it counts."""
        return {
            scope.id: {
                f"{window.dimension}/{window.period_s:.0f}": (window.capacity, window.provenance)
                for window in scope.account.windows
                if not window.label
            }
            for scope in self.router.quota_awareness_engine.book
        }


async def test_anthropics_workspaces_and_groups_are_known_before_any_traffic(
    told: Administration,
) -> None:
    async with Scene("anthropic", told) as scene:
        await scene.reports.ask_all()
        for model in ("claude-sonnet-9", "claude-muse-9", "claude-opus-9"):
            scene.look_up(model)
        scene.look_up("claude-sonnet-9", "messages/count_tokens")
        windows = scene.windows()
    source = "admin API"
    first = "anthropic/org-1/wrkspc_1"
    # Models of one group share it, whatever they are called.
    assert windows[f"{first}/claude-muse-9"] == {
        "requests/60": (50.0, source), "input tokens/60": (30000.0, source),
        "output tokens/60": (8000.0, source),
    }  # fmt: skip
    assert f"{first}/claude-sonnet-9" not in windows
    assert windows[f"{first}/messages/count_tokens"] == {"requests/60": (100.0, source)}
    shared = windows["anthropic/org-1/claude-muse-9"]
    assert shared == {"requests/60": (4000.0, source)}
    # A key outside of every workspace has what its organisation has.
    assert windows["anthropic/org-1/claude-opus-9"] == {"requests/60": (1000.0, source)}
    assert {secret for _, secret in told.asked} == {ADMIN}
    assert scene.logged == []


async def test_limits_reach_scopes_that_are_in_use_already(told: Administration) -> None:
    async with Scene("anthropic", told) as scene:
        scene.look_up("claude-opus-9")
        await scene.reports.ask_all()
        windows = scene.windows()
    assert windows["anthropic/org-1/claude-opus-9"]["requests/60"] == (1000.0, "admin API")


async def test_openais_projects_have_limits_by_model(told: Administration) -> None:
    async with Scene("openai", told) as scene:
        await scene.reports.ask_all()
        scene.look_up("gpt-9")
        windows = scene.windows()
    assert windows["openai/proj_1/gpt-9"] == {
        "requests/60": (500.0, "admin API"), "tokens/60": (30000.0, "admin API"),
        "requests/86400": (10000.0, "admin API"),
    }  # fmt: skip
    # Nothing was told of the other key, and nothing is asked of a project without one of ours.
    assert "openai/b/gpt-9" in windows
    assert not any("proj_2/rate_limits" in path for path, _ in told.asked)


async def test_openrouters_keys_ask_for_themselves(told: Administration) -> None:
    async with Scene("openrouter", told) as scene:
        await scene.reports.ask_all()
        scene.look_up("a/b:free")
        scene.look_up("c/d:free")
        scene.look_up("a/b")
        windows = scene.windows()
    assert windows["openrouter/org-9/free"]["requests/86400"] == (50.0, "admin API")
    # What costs nothing is limited apart, and no scope of a key's own is left.
    assert {name for name in windows if name.startswith("openrouter/")} == {
        "openrouter/org-9/free", "openrouter/org-9",
    }  # fmt: skip
    assert {secret for _, secret in told.asked} == set(KEYS.values())


async def test_what_answers_have_told_is_not_contradicted(told: Administration) -> None:
    async with Scene("anthropic", told) as scene:
        await scene.reports.ask_all()
        scene.look_up("claude-opus-9")
        awareness = scene.router.quota_awareness_engine
        slot = scene.router.key_manager.slot("b")
        (scope,) = (s for s in awareness.book.scopes_of(slot) if s.group == "claude-opus-9")
        adapter = _adapter("anthropic", told)
        headers = {"anthropic-ratelimit-requests-limit": "700"}
        awareness.learn(scope, adapter.read_limits(headers, 0.0), scene.router.now())
        awareness.note_account(slot, "org-1/wrkspc_2")
        await scene.reports.ask_all()
        windows = scene.windows()
        await adapter.close()
    assert windows["anthropic/org-1/wrkspc_2/claude-opus-9"]["requests/60"] == (700.0, "header")


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((401, {"error": {"message": "invalid x-api-key"}}), "status 401: invalid x-api-key"),
        ((403, {"error": "no"}), "status 403: no"),
        ((200, []), "status 200"),
        ((500, {}), "status 500"),
    ],
)
@pytest.mark.parametrize("name", ADMIN_APIS)
async def test_failure_is_told_once_and_changes_nothing(
    told: Administration, name: str, refusal: tuple[int, Any], reason: str
) -> None:
    async with Scene(name, told) as scene:
        told.refusal = refusal
        await scene.reports.ask_all()
        await scene.reports.ask_all()
        assert len(scene.logged) == 1
        told.refusal = None
        await scene.reports.ask_all()
        told.refusal = refusal
        await scene.reports.ask_all()
    assert len(scene.logged) == 2
    message, facts = scene.logged[0]
    assert message.startswith("warning: the admin API told nothing")
    assert facts["provider"] == name
    assert facts["error"].endswith(reason)
    assert not any(secret in str(scene.logged) for secret in (ADMIN, *KEYS.values()))


async def test_provider_that_is_away_is_a_failure_like_any_other(told: Administration) -> None:
    told.url = "http://127.0.0.1:9"
    async with Scene("anthropic", told) as scene:
        scene.reports.start()
        await scene.reports.ask_all()
    assert "could not be reached" in scene.logged[0][1]["error"]


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            ("data", "id", "scope", "group", "type", "models", "limits", "value", "model",
             "partial_key_hint", "redacted_value", "free_model_daily_requests", "limit")
        ),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


class OddAnswers(OpenAIAdapter):
    """Is told the same, whatever it asks."""

    def __init__(self, name: str, answer: Any) -> None:
        row = CATALOGUE[name]
        super().__init__(row.base_url, per_model=True, layout=row.layout)
        self.answer = answer

    async def ask(self, path: str, secret: str, *, method: str = "GET") -> Any:
        response = WireResponse(200, {}, None, None, lambda: None)  # type: ignore[arg-type]
        return response, msgspec.json.encode(self.answer)


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(sorted(ADMIN_APIS)), answer=st.dictionaries(st.just("data"), ODD))
async def test_odd_answers_tell_nothing_and_break_nothing(name: str, answer: Any) -> None:
    try:
        report = await ADMIN_APIS[name](OddAnswers(name, answer), ADMIN, KEYS)
    except AdminApiError:
        return
    assert isinstance(report, AdminReport)


@pytest.mark.parametrize(
    ("hint", "ids"),
    [
        ("sk-ant-api03-R2D...igaa", ("a",)),
        ("sk-ant-********igaa", ("a",)),
        ("sk-ant-api03-…qqqq", ("b",)),
        ("sk-ant-api03-R2D...qqqq", ()),
        ("sk...aa", ()),
        ("sk-ant-api03...", ()),
        ("sk-ant-api03-R2Daaaaaaaaaaaigaa", ()),
        ("", ()),
        ("...", ()),
    ],
)
def test_hint_shows_the_beginning_and_the_end_of_a_secret(hint: str, ids: tuple[str, ...]) -> None:
    assert ids == keys_like(hint, KEYS)
