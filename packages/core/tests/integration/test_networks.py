"""Ways to a provider: proxies, certificates, redirects; no key goes where it does not belong."""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, ConfigurationError, Message, RequestIntent, SystemError
from apikeyrouter.domain.feed.events import CircuitMoved
from apikeyrouter.infrastructure.adapters.connection_options import (
    URL,
    ConnectionOptions,
    ProxyChoice,
)
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.integration
Provide = Callable[..., Awaitable[Any]]
INTENT = RequestIntent(model="m", messages=[Message(role="user", content="Hello!")])
FINE = b'{"choices":[{"message":{"content":"hi"}}]}'
_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


async def fine(call: Any) -> None:
    await call.answer(FINE)


async def router_to(url: str, **options: Any) -> ApiKeyRouter:
    router = ApiKeyRouter(config={"log_level": "CRITICAL", "max_queue_wait_seconds": 0.0})
    adapter = OpenAIAdapter(url, connection=ConnectionOptions(**options))
    await router.register_provider("p", adapter)
    await router.register_key("sk-secret-1", "p", {"id": "k"})
    return router


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
async def test_proxy_of_the_environment_is_used(
    provide: Provide, environment: pytest.MonkeyPatch, name: str
) -> None:
    proxy = await provide(fine)
    environment.setenv(name, f"http://user:pass@127.0.0.1:{proxy.port}")
    async with await router_to("http://provider.invalid/v1") as router:
        assert (await router.route(INTENT)).content == "hi"
    head = proxy.calls[0].head
    assert head.startswith("POST http://provider.invalid/v1/chat/completions HTTP/1.1")
    assert "proxy-authorization: basic dxnlcjpwyxnz" in head.lower()


async def test_proxy_of_the_provider_goes_before_the_environments(
    provide: Provide, environment: pytest.MonkeyPatch
) -> None:
    proxy = await provide(fine)
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    url = f"http://127.0.0.1:{proxy.port}"
    async with await router_to("http://provider.invalid/v1", proxy=url) as router:
        assert (await router.route(INTENT)).content == "hi"
    async with await router_to(proxy.url, proxy="direct") as router:
        assert (await router.route(INTENT)).content == "hi"
    assert proxy.calls[1].head.startswith("POST /v1/chat/completions HTTP/1.1")


async def test_tunnel_that_a_proxy_refuses_means_that_nothing_was_sent(provide: Provide) -> None:
    async def script(call: Any) -> None:
        await call.answer(b"no", 403)

    proxy = await provide(script)
    url = f"http://user:pass@127.0.0.1:{proxy.port}"
    async with await router_to("https://provider.invalid/v1", proxy=url) as router:
        with pytest.raises(SystemError) as caught:
            await router.route(INTENT)
    assert caught.value.details["class"] == "unreachable"
    assert proxy.calls[0].head.startswith("CONNECT provider.invalid:443 HTTP/1.1")
    assert "sk-secret-1" not in proxy.calls[0].head
    assert "proxy-authorization: basic dxnlcjpwyxnz" in proxy.calls[0].head.lower()


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("", "http://a.example/v1", False),
        ("*", "http://a.example/v1", True),
        ("a.example", "http://a.example/v1", True),
        ("example", "http://a.example/v1", True),
        (".example", "http://a.example/v1", True),
        ("*.example", "http://a.example/v1", True),
        ("b.example, A.Example", "https://a.example/v1", True),
        ("a.example:8080", "http://a.example/v1", False),
        ("a.example:8080", "http://a.example:8080/v1", True),
        ("ample", "http://a.example/v1", False),
        ("127.0.0.1", "http://127.0.0.1:9/v1", True),
        ("10.0.0.0/8", "http://10.1.2.3/v1", True),
        ("10.0.0.0/8", "http://11.1.2.3/v1", False),
        ("::1", "http://[::1]:9/v1", True),
    ],
)
def test_no_proxy_names_hosts_domains_ports_and_networks(
    environment: pytest.MonkeyPatch, no_proxy: str, url: str, is_direct: bool
) -> None:
    environment.setenv("HTTP_PROXY", "http://proxy:3128")
    environment.setenv("https_proxy", "proxy:3128")
    environment.setenv("NO_PROXY", no_proxy)
    found = ProxyChoice(None).for_url(URL(url))
    assert (found is None) is is_direct
    assert found is None or str(found.url) == "http://proxy:3128"


@pytest.mark.parametrize("proxy", ["socks5://host:1", "http://", "http://:80", "ftp://u:pw@h"])
def test_proxy_that_is_none_is_refused_without_its_password(proxy: str) -> None:
    with pytest.raises(ConfigurationError, match="URL of an HTTP proxy") as caught:
        OpenAIAdapter(connection=ConnectionOptions(proxy=proxy))
    assert "pw" not in str(caught.value)


@pytest.fixture(scope="module")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost that signs itself, and a server's context with it."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


async def test_untrusted_certificate_is_named(
    provide: Provide, own_certificate: tuple[Path, ssl.SSLContext]
) -> None:
    provider = await provide(fine, ssl=own_certificate[1])
    events: list[Any] = []
    async with await router_to(f"https://localhost:{provider.port}/v1") as router:
        router.listeners.append(events.append)
        with pytest.raises(SystemError, match="certificate verify failed") as caught:
            await router.route(INTENT)
    assert caught.value.provider_code == "untrusted_certificate"
    told = next(event for event in events if isinstance(event, CircuitMoved))
    assert "certificate verify failed" in told.detail


async def test_certificate_of_a_named_authority_is_trusted(
    provide: Provide, own_certificate: tuple[Path, ssl.SSLContext]
) -> None:
    certificate, context = own_certificate
    provider = await provide(fine, ssl=context)
    url = f"https://localhost:{provider.port}/v1"
    async with await router_to(url, ca_file=str(certificate)) as router:
        assert (await router.route(INTENT)).content == "hi"


def test_file_of_authorities_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(ConfigurationError, match=name):
            OpenAIAdapter(connection=ConnectionOptions(ca_file=str(tmp_path / name)))


@pytest.mark.parametrize("status", [307, 308])
async def test_redirect_on_the_same_host_is_followed_with_the_same_request(
    provide: Provide, status: int
) -> None:
    async def script(call: Any) -> None:
        if call.head.startswith("POST /v2/chat "):
            await call.answer(FINE)
        else:
            await call.answer(b"", status, location="/v2/chat")

    provider = await provide(script)
    async with await router_to(provider.url) as router:
        assert (await router.route(INTENT)).content == "hi"
    first, second = provider.calls
    assert first.body == second.body
    assert "Bearer sk-secret-1" in second.head


async def test_redirect_to_another_host_is_named_and_never_gets_the_key(provide: Provide) -> None:
    elsewhere = await provide(fine)

    async def script(call: Any) -> None:
        await call.answer(b"", 307, location=f"{elsewhere.url}/chat/completions")

    provider = await provide(script)
    async with await router_to(provider.url) as router:
        with pytest.raises(SystemError, match=f"redirects to {elsewhere.url}/chat"):
            await router.route(INTENT)
    assert elsewhere.calls == []


async def test_redirects_in_a_circle_come_to_an_end(provide: Provide) -> None:
    async def script(call: Any) -> None:
        await call.answer(b"", 308, location="/v1/again")

    provider = await provide(script)
    async with await router_to(provider.url) as router:
        async with asyncio.timeout(5):
            with pytest.raises(SystemError, match="redirects to /v1/again"):
                await router.route(INTENT)
    assert len(provider.calls) <= 16


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_redirect_that_would_change_the_request_is_named(
    provide: Provide, status: int
) -> None:
    async def script(call: Any) -> None:
        await call.answer(b"", status, location="https://api.example/v1/")

    provider = await provide(script)
    async with await router_to(provider.url) as router:
        with pytest.raises(SystemError, match=r"redirects to https://api\.example/v1/"):
            await router.route(INTENT)
