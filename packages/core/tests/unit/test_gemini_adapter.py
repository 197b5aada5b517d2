"""Gemini's addresses, credential, lists and probe; what its refusals mean."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
from provider_errors import F, classify_at, gemini, openai, quota

from apikeyrouter.dialects.catalogue import RAW
from apikeyrouter.domain.interfaces.provider_adapter import Serving
from apikeyrouter.domain.interfaces.wire import WireRequest, WireResponse
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import DAY_S
from apikeyrouter.infrastructure.adapters.gemini_adapter import GeminiAdapter
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.adapters.provider_catalogue import custom_adapter, make_adapter
from apikeyrouter.infrastructure.adapters.transport import Transport

pytestmark = pytest.mark.unit
GOOGLE = "https://generativelanguage.googleapis.com"


class Pages(Transport):
    """Answers with one body after the other, the last one again and again."""

    def __init__(self, *bodies: Any, status: int = 200) -> None:
        super().__init__()
        self.bodies = [msgspec.json.encode(body) for body in bodies] or [b"{}"]
        self.status = status
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> WireResponse:
        self.asked.append((method, url, dict(headers)))
        data = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        async def read() -> bytes:
            return data

        return WireResponse(self.status, {}, chunks(), read, lambda: None)


@pytest.mark.parametrize(
    ("base_url", "path", "url"),
    [
        (GOOGLE, "v1beta/models/m:generateContent", f"{GOOGLE}/v1beta/models/m:generateContent"),
        (GOOGLE, "v1/models/m:countTokens", f"{GOOGLE}/v1/models/m:countTokens"),
        (GOOGLE, "models", f"{GOOGLE}/v1beta/models"),
        (f"{GOOGLE}/v1beta", "v1/models/m:x", f"{GOOGLE}/v1beta/models/m:x"),
        (f"{GOOGLE}/v1beta/", "v1beta/models/m:x", f"{GOOGLE}/v1beta/models/m:x"),
        (f"{GOOGLE}/v1", "v1beta/models/m:x", f"{GOOGLE}/v1/models/m:x"),
        (f"{GOOGLE}/v1alpha", "models", f"{GOOGLE}/v1alpha/models"),
        (GOOGLE, "upload/v1beta/files", f"{GOOGLE}/upload/v1beta/files"),
        (f"{GOOGLE}/v1", "upload/v1beta/files", f"{GOOGLE}/upload/v1/files"),
        ("http://host/gemini", "v1beta/models/m:x", "http://host/gemini/v1beta/models/m:x"),
        ("http://host/gemini/v1beta", "v1/models/m:x", "http://host/gemini/v1beta/models/m:x"),
    ],
)
async def test_base_url_works_with_and_without_a_version(
    base_url: str, path: str, url: str
) -> None:
    transport = Pages()
    adapter = GeminiAdapter(base_url, transport=transport)
    await adapter.send(WireRequest(path), "AQ.secret")
    await adapter.send(WireRequest(path, query="alt=sse"), "AQ.secret")
    assert [asked[1] for asked in transport.asked] == [url, f"{url}?alt=sse"]


async def test_what_is_raw_goes_below_the_base_url() -> None:
    transport = Pages()
    adapter = make_adapter("gemini", transport=transport)
    for path, endpoint in (("v1beta/files", RAW), ("chat/completions", "chat/completions")):
        await adapter.send(WireRequest(path, endpoint=endpoint), "AQ.secret")
    urls = [asked[1] for asked in transport.asked]
    assert urls == [f"{GOOGLE}/v1beta/files", f"{GOOGLE}/v1beta/openai/chat/completions"]


async def test_another_dialects_version_takes_the_place_of_the_base_urls() -> None:
    transport = Pages()
    adapter = OpenAIAdapter("http://h/v1", dialects=("openai", "gemini"), transport=transport)
    for path in ("chat/completions", "v1beta/models/m:x", "v1/models/m:x"):
        await adapter.send(WireRequest(path), "sk")
    assert [asked[1] for asked in transport.asked] == [
        "http://h/v1/chat/completions", "http://h/v1beta/models/m:x", "http://h/v1/models/m:x",
    ]  # fmt: skip


async def test_key_goes_out_in_one_header() -> None:
    transport = Pages()
    adapter = make_adapter("gemini", transport=transport)
    request = WireRequest("v1beta/models/m:generateContent", endpoint="generateContent")
    await adapter.send(request, "AQ.secret")
    _, url, headers = transport.asked[0]
    assert headers["x-goog-api-key"] == "AQ.secret"
    assert [name for name, value in headers.items() if "AQ.secret" in value] == ["x-goog-api-key"]
    assert "AQ.secret" not in url


async def test_models_are_listed_over_all_pages() -> None:
    transport = Pages(
        {"models": [{"name": "models/a", "version": "1"}], "nextPageToken": "x/+="},
        {"models": [{"name": "tunedModels/t"}, {"name": "models/a"}]},
    )
    adapter = GeminiAdapter(transport=transport)
    assert await adapter.list_models("AQ.k") == ("a", "tunedModels/t")
    assert [asked[1].rpartition("/")[2] for asked in transport.asked] == [
        "models?pageSize=1000", "models?pageSize=1000&pageToken=x%2F%2B%3D",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "transport",
    [Pages({"error": {"code": 403}}, status=403), Pages([]), Pages({"models": "no"})],
    ids=["refused", "list", "text"],
)
async def test_list_that_is_none_is_empty(transport: Pages) -> None:
    assert await GeminiAdapter(transport=transport).list_models("AQ.k") == ()


async def test_list_without_an_end_is_given_up() -> None:
    transport = Pages({"models": [{"name": "models/a"}], "nextPageToken": "again"})
    assert await GeminiAdapter(transport=transport).list_models("AQ.k") == ("a",)
    assert len(transport.asked) == 20


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, {"models": []}, True),
        (400, gemini("API key not valid.", "INVALID_ARGUMENT", 400, "API_KEY_INVALID"), False),
        (403, gemini("Your API key was reported as leaked.", "PERMISSION_DENIED", 403), False),
        (403, gemini("No", "PERMISSION_DENIED", 403), None),
        (429, quota(delay="3s"), None),
        (503, gemini("busy", "UNAVAILABLE", 503), None),
    ],
)
async def test_probe_costs_nothing_and_tells_a_dead_key(
    status: int, body: Any, verdict: bool | None
) -> None:
    transport = Pages(body, status=status)
    assert await GeminiAdapter(transport=transport).probe("AQ.k") is verdict
    assert transport.asked[0][:2] == ("GET", f"{GOOGLE}/v1beta/models?pageSize=1")


async def test_health_asks_where_the_models_are() -> None:
    transport = Pages(status=403)
    await GeminiAdapter("http://h", transport=transport).get_health()
    assert transport.asked[0][1] == "http://h/v1beta/models"
    assert "x-goog-api-key" not in transport.asked[0][2]


def test_row_says_how_google_charges_and_when_its_day_ends() -> None:
    for adapter in (make_adapter("gemini"), custom_adapter("g", "http://h", kind="gemini")):
        assert adapter.kind == "gemini"
        assert adapter.admission.input_only
        assert adapter.calendars == {DAY_S: Calendar.DAY_PACIFIC}
        assert adapter.per_model
    assert make_adapter("gemini").models is not None
    assert custom_adapter("g", "http://h", kind="gemini").models is None


def test_models_have_limits_of_their_own_and_counting_has_others() -> None:
    adapter = make_adapter("gemini")
    endpoints = ("generateContent", "streamGenerateContent", "countTokens")
    assert [adapter.limit_group("m", endpoint) for endpoint in endpoints] == [
        "m", "m", "m:countTokens",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("endpoint", "serving"),
    [
        ("generateContent", Serving.NATIVE),
        ("streamGenerateContent", Serving.NATIVE),
        ("countTokens", Serving.NATIVE),
        ("embedContent", Serving.NATIVE),
        ("batchEmbedContents", Serving.NATIVE),
        ("embeddings", Serving.NONE),
    ],
)
def test_own_endpoints_are_served_as_they_are(endpoint: str, serving: Serving) -> None:
    assert make_adapter("gemini").serving(endpoint) is serving


FORBIDDEN, INVALID = "PERMISSION_DENIED", "INVALID_ARGUMENT"
REFUSALS: dict[str, Any] = {
    "service is off": (F.ACCOUNT_DISABLED, 403, gemini("x", FORBIDDEN, 403, "SERVICE_DISABLED")),
    "referrer": (
        F.IP_NOT_AUTHORIZED, 403, gemini("x", FORBIDDEN, 403, "API_KEY_HTTP_REFERRER_BLOCKED"),
    ),
    "address": (
        F.IP_NOT_AUTHORIZED, 403, gemini("x", FORBIDDEN, 403, "API_KEY_IP_ADDRESS_BLOCKED"),
    ),
    "no credential": (F.KEY_INVALID, 401, gemini("x", "UNAUTHENTICATED", 401)),
    "credential of another kind": (
        F.KEY_INVALID, 401, gemini("x", "UNAUTHENTICATED", 401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
    ),
    "no such model": (
        F.MODEL_UNAVAILABLE, 404,
        gemini("models/x is not found for API version v1beta, or is not supported for "
               "generateContent.", "NOT_FOUND", 404),
    ),
    "bad argument": (F.BAD_REQUEST, 400, gemini("Invalid value at 'contents'", INVALID, 400)),
    "too long": (
        F.CONTEXT_LENGTH, 400,
        gemini("The input token count (1200000) exceeds the maximum number of tokens allowed "
               "(1048576).", INVALID, 400),
    ),
    "day and minute": (
        F.RATE_LIMITED_DAY, 429,
        quota(("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "20"), delay="36000s"),
    ),
    "input tokens of a minute": (
        F.RATE_LIMITED, 429,
        quota(("GenerateContentInputTokensPerModelPerMinute-PaidTier", "250000"), delay="9s"),
    ),
    "spent": (F.QUOTA_BILLING, 429, gemini("x", "RESOURCE_EXHAUSTED", 429, "spend_limit_exceeded")),
    "prepaid money is gone": (
        F.QUOTA_BILLING, 429,
        gemini("Your prepayment credits are depleted. Please manage your project and billing.",
               "RESOURCE_EXHAUSTED"),
    ),
    "file of another project": (
        F.NOT_FOUND, 403,
        gemini("You do not have permission to access the File x or it may not exist.",
               "PERMISSION_DENIED", 403),
    ),
    "cache of another project": (
        F.NOT_FOUND, 403,
        gemini("CachedContent not found (or permission denied)", "PERMISSION_DENIED", 403),
    ),
    "given up": (F.CONFLICT, 499, gemini("x", "CANCELLED", 499)),
    "broken": (F.SERVER_ERROR, 500, gemini("x", "INTERNAL", 500)),
    "late": (F.SERVER_ERROR, 504, gemini("x", "DEADLINE_EXCEEDED", 504)),
    "openai's surface": (
        F.KEY_INVALID, 400,
        [gemini("API key not valid.", INVALID, 400, "API_KEY_INVALID")],
    ),
    "plain": (F.RATE_LIMITED, 429, openai("slow")),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "status", "body"), REFUSALS.values(), ids=REFUSALS)
def test_refusal_has_its_meaning(kind: Any, status: int, body: Any) -> None:
    assert classify_at("gemini", status, body).kind is kind
