"""What clients try: to have tokens sent on, to leave a provider's paths, to use other models."""

import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.integration
JSON = (("content-type", "application/json"),)
FORM = (("content-type", "multipart/form-data; boundary=b"),)
TOKEN = "tok-of-a-client"


class Upstream:
    """Notes what comes, and answers everything alike."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self.answer: tuple[int, list[tuple[bytes, bytes]], bytes] = (
            200, [(b"content-type", b"application/json")], b'{"id": "x", "object": "thing"}',
        )  # fmt: skip

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["method"] != "GET" or not scope["path"].endswith("/models"):
            self.seen.append((scope["raw_path"] + b"?" + scope["query_string"], body))
        status, headers, answer = self.answer
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def asked(url: str, target: str, body: bytes = b"", headers: Any = JSON) -> bytes:
    """Send a POST as it is written; return head and body of the answer."""
    place = urlsplit(url)
    lines = [f"POST {target} HTTP/1.1", f"host: {place.netloc}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"content-length: {len(body)}", "", ""]
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def config(serve: Any, upstream: Upstream) -> dict[str, Any]:
    url = serve(upstream).url
    kinds = {"o": ("openai", "/v1"), "a": ("anthropic", ""), "g": ("gemini", "")}
    return {
        "providers": {
            name: {"kind": kind, "base_url": url + path} for name, (kind, path) in kinds.items()
        },
        "keys": [
            {"id": f"key-{name}", "provider": name, "secret": f"sk-secret-of-{name}"}
            for name in kinds
        ],
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", b'{"model": "o/m", "messages": []}'),
        ("/v1/messages", b'{"model": "a/m", "max_tokens": 1, "messages": []}'),
        ("/v1/responses", b'{"model": "o/m", "input": "x"}'),
        ("/v1beta/models/g%2fm:generateContent", b'{"contents": []}'),
        ("/v1/images/generations", b'{"model": "o/m"}'),
        ("/v1/batches", b"{}"),
        ("/o/anything", b"{}"),
    ],
)
def test_token_in_an_address_is_not_sent_on(
    path: str, body: bytes, serve: Any, config: Any, upstream: Upstream
) -> None:
    url = serve(config).url
    names = ("key", "%6bey", "$key", "Key", "api_key", "api-key", "x-api-key", "access_token")
    for name in names:
        asked(url, f"{path}?a=b&{name}={TOKEN}&c=d", body)
    queries = [seen[0].partition(b"?")[2] for seen in upstream.seen]
    assert queries == [b"a=b&c=d"] * len(names)


@pytest.mark.parametrize("model", ["a/../b", "../../b", "./b", "b/.."])
def test_model_does_not_lead_to_another_address(
    model: str, serve: Any, config: Any, upstream: Upstream
) -> None:
    url = serve(config).url
    for path in (f"/v1beta/models/g/{model}:generateContent", "/v1/chat/completions"):
        body = b'{"model": "g/%s", "messages": [{"role": "user", "content": "x"}]}' % model.encode()
        answer = asked(url, path, body)
        assert status_of(answer) == 400, answer
    assert upstream.seen == []


def form(*heads: bytes) -> bytes:
    """Return a form whose first field is a model that is allowed, and others that are not."""
    heads = (b'content-disposition: form-data; name="model"', *heads)
    parts = [b"--b\r\n%s\r\n\r\n%s\r\n" % (h, b"bad" if n else b"ok") for n, h in enumerate(heads)]
    return b"".join(parts) + b"--b--\r\n"


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/chat/completions", b'{"model": "bad", "messages": []}', JSON),
        ("/v1/chat/completions", b'{"model": "o/bad", "messages": []}', JSON),
        ("/v1/messages/count_tokens", b'{"model": "bad", "messages": []}', JSON),
        ("/v1/responses/compact/", b'{"model": "bad", "input": "x"}', JSON),
        ("/v1/responses/input_tokens/", b'{"model": "bad", "input": "x"}', JSON),
        ("/v1/batches", b'{"model": "ok", "input_file_id": "x"}', JSON),
        ("/o/batches", b'{"model": "ok", "input_file_id": "x"}', JSON),
        ("/a/v1/messages/batches", b'{"model": "ok", "requests": []}', JSON),
        ("/o/openai/deployments/bad/chat/completions", b'{"model": "ok"}', JSON),
        ("/o/models/ok:x/models/bad:generateContent", b"{}", JSON),
        ("/g/v1beta/tunedModels/bad:generateContent", b'{"model": "ok"}', JSON),
        ("/v1beta/models/ok%2f..%2fbad:generateContent", b'{"contents": []}', JSON),
        ("/v1/images/edits", form(b'content-disposition: form-data; name="model"'), FORM),
        ("/v1/images/edits", form(b"content-disposition : form-data; name=model"), FORM),
        ("/v1/images/edits", form(b'content-disposition: form-data;\r\n name="model"'), FORM),
        ("/v1/images/edits", form(b"content-disposition: form-data; name*=utf-8''model"), FORM),
        (
            "/v1/images/edits",
            form(b'content-disposition: form-data; filename="; name=x"; name="model"'),
            FORM,
        ),
    ],
)
def test_client_uses_no_other_model(
    path: str, body: bytes, headers: Any, serve: Any, config: Any, upstream: Upstream
) -> None:
    clients = [{"name": "c", "token": TOKEN, "models": ["ok*"]}]
    proxy = serve({**config, "clients": clients})
    answer = asked(proxy.url, path, body, (*headers, ("authorization", f"Bearer {TOKEN}")))
    assert upstream.seen == []
    assert status_of(answer) in (400, 403), answer


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/o/chat/completions", b'{"model": "ok", "messages": []}'),
        ("/g/v1beta/models/ok:generateContent", b"{}"),
        ("/v1/responses/resp_12345/cancel", b""),
        ("/v1/images/edits", form()),
    ],
)
def test_client_uses_its_models(
    path: str, body: bytes, serve: Any, config: Any, upstream: Upstream
) -> None:
    clients = [{"name": "c", "token": TOKEN, "models": ["ok*"]}]
    proxy = serve({**config, "clients": clients})
    headers = FORM if body.startswith(b"--b") else JSON
    asked(proxy.url, path, body, (*headers, ("authorization", f"Bearer {TOKEN}")))
    assert upstream.seen
    assert TOKEN not in repr(upstream.seen)
