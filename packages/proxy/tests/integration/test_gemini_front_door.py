"""Gemini's endpoints as they travel: addresses, credentials, both forms of streams, errors."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration
BODY = {"contents": [{"role": "user", "parts": [{"text": "Hello!"}]}]}
EMPTY = {"candidates": [{"content": {"parts": [{"text": ""}]}}]}
TEXT = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]}
LAST = {
    "candidates": [{"content": {"parts": [{"text": "!"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2},
}
BUSY = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
MODEL = "/v1beta/models/flash"


class Upstream:
    """Notes what it is asked, and answers with these pieces; without the last it breaks off."""

    def __init__(self, *pieces: bytes, status: int = 200, kind: str = "application/json") -> None:
        self.pieces, self.status, self.kind = pieces, status, kind
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.breaks = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["method"] == "POST":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            asked = (scope["raw_path"].decode(), scope["query_string"].decode(), headers, body)
            self.asked.append(asked)
        headers = [(b"content-type", self.kind.encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if self.breaks:
            raise ConnectionError
        await send({"type": "http.response.body", "body": b""})


def plain(piece: Any, **more: Any) -> Upstream:
    return Upstream(json.dumps(piece).encode(), **more)


def array(*pieces: Any) -> Upstream:
    written = [b"\n,\r\n" + json.dumps(piece, indent=2).encode() for piece in pieces]
    return Upstream(b"[" + written[0][4:], *written[1:], b"\n]\n")


def events(*pieces: Any) -> Upstream:
    written = (b"data: " + json.dumps(piece).encode() + b"\r\n\r\n" for piece in pieces)
    return Upstream(*written, kind="text/event-stream")


@pytest.fixture
def proxy_to(serve: Callable[..., Any]) -> Callable[..., Any]:
    """Start the service before these upstreams, tried in turn."""

    def start(*upstreams: Upstream, **more: Any) -> Any:
        names = [f"p{number}" for number in range(1, len(upstreams) + 1)]
        models = {"flash": [f"{name}/flash" for name in names], **more.pop("models", {})}
        config = {
            "providers": {
                name: {"kind": "gemini", "base_url": serve(upstream).url}
                for name, upstream in zip(names, upstreams, strict=True)
            },
            "keys": [
                {"id": f"k-{name}", "provider": name, "secret": f"AQ.secret-{name}"}
                for name in names
            ],
            "models": models,
            **more,
        }
        return serve(config)

    return start


async def post(proxy: Any, path: str, body: Any = BODY, **more: Any) -> httpx2.Response:
    async with httpx2.AsyncClient() as client:
        return await client.post(proxy.url + path, json=body, **more)


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_address_goes_to_the_provider_without_the_clients_key(
    proxy_to: Callable[..., Any], version: str
) -> None:
    upstream = plain(LAST)
    proxy = proxy_to(upstream)
    path = f"/{version}/models/flash:generateContent?%24alt=json&key=client-key&x=a%20b&KEY=k"
    headers = {
        "x-goog-api-key": "client-key", "authorization": "Bearer client-key", "x-goog-user": "u",
    }  # fmt: skip
    answer = await post(proxy, path, headers=headers)
    assert answer.json() == LAST
    path, query, sent, body = upstream.asked[0]
    assert (path, query) == (f"/{version}/models/flash:generateContent", "%24alt=json&x=a%20b")
    assert json.loads(body) == BODY
    assert sent["x-goog-user"] == "u"
    assert "client-key" not in str((query, sent))
    assert [name for name, value in sent.items() if "AQ.secret-p1" in value] == ["x-goog-api-key"]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("models/p1/a/b:online", "models/a/b:online"),
        ("models/own", "models/the%20model?%23"),
        ("models/models/p1/x", "models/x"),
        ("models/p1/models/x", "models/x"),
        ("tunedModels/t-1", "tunedModels/t-1"),
        ("models/a%2Fb", "models/a/b"),
    ],
)
async def test_provider_is_asked_for_its_own_name_of_the_model(
    proxy_to: Callable[..., Any], asked: str, sent: str
) -> None:
    upstream = plain({"embeddings": []})
    proxy = proxy_to(upstream, models={"own": ["p1/the model?#"]})
    body = {"requests": [{"model": f"models/{asked}", "content": {"parts": [{"text": "x"}]}}]}
    await post(proxy, f"/v1beta/{asked}:batchEmbedContents", body)
    assert upstream.asked[0][0] == f"/v1beta/{sent.replace('?', '%3F')}:batchEmbedContents"


@pytest.mark.parametrize(
    "path",
    [
        "/models/flash:streamGenerateContent?alt=sse",
        "/v1/v1beta/models/flash:streamGenerateContent?alt=sse",
        "/v1beta//models/flash:streamGenerateContent?alt=sse",
        "/v1beta/v1beta/models/flash:streamGenerateContent?alt=sse",
        "/v1/v1/models/flash:streamGenerateContent?%24alt=sse",
    ],
)
async def test_address_that_is_nearly_right_is_mended(
    proxy_to: Callable[..., Any], path: str
) -> None:
    upstream = events(TEXT, LAST)
    answer = await post(proxy_to(upstream), path)
    assert (answer.status_code, answer.content) == (200, b"".join(upstream.pieces))


async def test_reasons_may_be_numbers_where_a_client_wants_them(
    proxy_to: Callable[..., Any],
) -> None:
    last = {"candidates": [{"content": {"parts": [{"text": "!"}]}, "finishReason": 1}]}
    upstream = array(TEXT, last)
    path = f"{MODEL}:streamGenerateContent?%24alt=json%3Benum-encoding%3Dint"
    answer = await post(proxy_to(upstream), path)
    assert answer.content == b"".join(upstream.pieces)
    assert upstream.asked[0][1] == "%24alt=json%3Benum-encoding%3Dint"


async def test_bodies_name_the_model_as_the_address_does(proxy_to: Callable[..., Any]) -> None:
    upstream = plain({"embeddings": []})
    proxy = proxy_to(upstream, models={"own": ["p1/vectors"]})
    content = {"parts": [{"text": "x"}]}
    body = {"requests": [{"model": "models/own", "content": content}] * 2}
    await post(proxy, "/v1beta/models/own:batchEmbedContents", body)
    assert json.loads(upstream.asked[0][3]) == {
        "requests": [{"model": "models/vectors", "content": content}] * 2
    }


async def test_array_passes_byte_by_byte_and_its_usage_is_read(
    proxy_to: Callable[..., Any],
) -> None:
    upstream = array(TEXT, LAST)
    proxy = proxy_to(upstream)
    answer = await post(proxy, f"{MODEL}:streamGenerateContent")
    assert answer.content == b"".join(upstream.pieces)
    assert answer.headers["content-type"] == "application/json"
    trace = proxy.app.router.get_request_trace(answer.headers["x-request-id"])
    assert (trace["input_tokens"], trace["output_tokens"]) == (3, 2)


@pytest.mark.parametrize(("form", "query"), [(array, ""), (events, "?alt=sse")])
async def test_stream_that_begins_with_an_error_is_tried_elsewhere(
    proxy_to: Callable[..., Any], form: Any, query: str
) -> None:
    first, second = form(EMPTY, BUSY), form(TEXT, LAST)
    proxy = proxy_to(first, second)
    answer = await post(proxy, f"{MODEL}:streamGenerateContent{query}")
    assert answer.content == b"".join(second.pieces)
    assert (len(first.asked), len(second.asked)) == (1, 1)


@pytest.mark.parametrize(("form", "query"), [(array, ""), (events, "?alt=sse")])
async def test_broken_stream_ends_with_an_error_in_its_form(
    proxy_to: Callable[..., Any], form: Any, query: str
) -> None:
    upstream = form(TEXT, TEXT)
    upstream.pieces = upstream.pieces[:2]
    upstream.breaks = True
    answer = await post(proxy_to(upstream), f"{MODEL}:streamGenerateContent{query}")
    last = json.loads(answer.text.strip().split("data: ")[-1]) if query else answer.json()[-1]
    assert (last["error"]["code"], last["error"]["status"]) == (502, "UNAVAILABLE")
    assert "broke off" in last["error"]["message"]


@pytest.mark.parametrize(
    "headers_and_query",
    [
        ({"x-goog-api-key": "t-1"}, ""),
        ({"authorization": "Bearer t-1"}, ""),
        ({}, "?key=t-1"),
        ({}, "?alt=json&key=t%2D1"),
    ],
)
async def test_client_is_known_by_its_key_wherever_it_stands(
    proxy_to: Callable[..., Any], headers_and_query: tuple[dict[str, str], str]
) -> None:
    headers, query = headers_and_query
    proxy = proxy_to(plain(LAST), clients=[{"name": "c", "token": "t-1"}])
    answer = await post(proxy, f"{MODEL}:generateContent{query}", headers=headers)
    assert answer.status_code == 200
    async with httpx2.AsyncClient() as client:
        listed = await client.get(f"{proxy.url}/v1beta/models{query}", headers=headers)
    assert listed.json()["models"][0]["name"] == "models/flash"


@pytest.mark.parametrize("query", ["", "?key=", "?key=other", "?%6bey=other"])
async def test_unknown_client_is_refused_as_google_does(
    proxy_to: Callable[..., Any], query: str
) -> None:
    proxy = proxy_to(plain(LAST), clients=[{"name": "c", "token": "t-1"}])
    answer = await post(proxy, f"{MODEL}:generateContent{query}")
    assert answer.status_code == 401
    assert answer.json()["error"]["status"] == "UNAUTHENTICATED"
    answer = await post(proxy, f"{MODEL}:streamGenerateContent{query}")
    assert answer.json()[0]["error"]["status"] == "UNAUTHENTICATED"


async def test_providers_own_words_pass_where_the_client_is_at_fault(
    proxy_to: Callable[..., Any],
) -> None:
    wrong = {"error": {"code": 400, "message": "Bad role", "status": "INVALID_ARGUMENT"}}
    answer = await post(proxy_to(plain(wrong, status=400)), f"{MODEL}:generateContent")
    assert (answer.status_code, answer.json()) == (400, wrong)


async def test_full_provider_is_told_with_googles_retry_info(
    proxy_to: Callable[..., Any],
) -> None:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "40s"}
    full = {"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED",
                      "details": [retry]}}  # fmt: skip
    proxy = proxy_to(plain(full, status=429), server={"max_queue_wait": 0})
    answer = await post(proxy, f"{MODEL}:generateContent")
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert error["details"][-1]["@type"] == retry["@type"]
    assert 30 < float(error["details"][-1]["retryDelay"].rstrip("s")) <= 40


async def test_models_have_googles_shape_where_the_credential_is_googles(
    proxy_to: Callable[..., Any],
) -> None:
    proxy = proxy_to(plain(LAST), models={"vectors-embed": ["p1/e"]})
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        openais = (await client.get("/v1/models")).json()
        assert openais["object"] == "list"
        for path, headers in (
            ("/v1/models?key=any", {}),
            ("/v1/models", {"x-goog-api-key": "any"}),
            ("/v1beta/models", {}),
        ):
            listed = (await client.get(path, headers=headers)).json()
            assert [model["name"] for model in listed["models"]] == [
                "models/flash", "models/vectors-embed",
            ]  # fmt: skip
        shown = (await client.get("/v1/models/vectors-embed?key=any")).json()
        assert shown["supportedGenerationMethods"][0] == "embedContent"
        assert (await client.get("/v1/models/vectors-embed")).json()["object"] == "model"


async def test_pages_of_models_hang_together(proxy_to: Callable[..., Any]) -> None:
    proxy = proxy_to(plain(LAST), models={name: [f"p1/{name}"] for name in "abc"})
    names, token = [], ""
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        while True:
            page = await client.get("/v1beta/models", params={"pageSize": 3, "pageToken": token})
            names += [model["name"] for model in page.json()["models"]]
            token = page.json().get("nextPageToken")
            if not token:
                break
        assert names == [f"models/{name}" for name in ("flash", *"abc")]
        for query in ("pageToken=nonsense", "pageSize=x", "pageSize=-1"):
            refused = await client.get(f"/v1beta/models?{query}")
            assert (refused.status_code, refused.json()["error"]["status"]) == (
                400, "INVALID_ARGUMENT",
            )  # fmt: skip


async def test_verb_that_is_not_served_is_refused_with_the_known_ones(
    proxy_to: Callable[..., Any],
) -> None:
    answer = await post(proxy_to(plain(LAST)), f"{MODEL}:fly")
    assert answer.json()["error"]["message"].startswith("there is no :fly of a model here; known")


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("/v1beta/models/flash:fly", 404, "NOT_FOUND"),
        ("/v1beta/nothing", 404, "NOT_FOUND"),
        ("/v1beta/models/flash:generateContent", 400, "INVALID_ARGUMENT"),
    ],
)
async def test_refusals_of_our_own_are_googles_too(
    proxy_to: Callable[..., Any], path: str, status: int, name: str
) -> None:
    async with httpx2.AsyncClient() as client:
        answer = await client.post(proxy_to(plain(LAST)).url + path, content=b"nonsense")
    assert (answer.status_code, answer.json()["error"]["status"]) == (status, name)
