"""What cannot be carried is named as its client's dialect names it."""

from typing import Any

import msgspec
import pytest

from apikeyrouter.dialects.catalogue import DIALECTS
from apikeyrouter.dialects.conversation import UntranslatableError
from apikeyrouter.dialects.translation import Translations
from apikeyrouter.domain.interfaces.wire import WireRequest

pytestmark = pytest.mark.unit
SAYS: Any = [{"role": "user", "content": "Hi!"}]
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("look", "go")]
SOURCE = {"type": "text", "media_type": "text/plain", "data": "d"}
CASES: dict[str, tuple[str, Any, str, list[str]]] = {
    "tool choice": (
        "messages",
        {"messages": SAYS, "tools": TOOLS,
         "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        "gemini", ["tool_choice.disable_parallel_tool_use"],
    ),
    "context": (
        "messages",
        {"messages": [{"role": "user", "content": [
            {"type": "document", "source": SOURCE, "context": "Mine."}]}]},
        "openai", ["messages.content.context"],
    ),
    "config": (
        "generateContent",
        {"contents": [{"parts": [{"text": "Hi!"}]}],
         "generationConfig": {"seed": 3, "frequencyPenalty": 0.5}, "odd": 1},
        "anthropic", ["odd", "generationConfig.seed", "generationConfig.frequencyPenalty"],
    ),
    "picture's detail": (
        "chat/completions",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {
            "url": "https://a.test/b.png", "detail": "low"}}]}]},
        "anthropic", ["messages.content.image_url.detail"],
    ),
    "picture's detail of a response": (
        "responses",
        {"input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": "https://a.test/b.png", "detail": "low"},
            {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"}]}]},
        "gemini", ["input.content.detail"],
    ),
    "resolution and cut of a part": (
        "generateContent",
        {"contents": [{"parts": [
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"},
             "mediaResolution": {"level": "MEDIA_RESOLUTION_MEDIUM"},
             "videoMetadata": {"fps": 2}, "thought": False, "odd": None}]}]},
        "openai", ["contents.parts.mediaResolution", "contents.parts.videoMetadata"],
    ),
    "resolution in the other spelling": (
        "generateContent",
        {"contents": [{"parts": [
            {"inline_data": {"mime_type": "image/png", "data": "AAAA"},
             "media_resolution": {"level": "MEDIA_RESOLUTION_LOW"}}]}]},
        "anthropic", ["contents.parts.mediaResolution"],
    ),
    "resolution of all": (
        "generateContent",
        {"contents": [{"parts": [{"text": "Hi!"}]}],
         "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}},
        "openai", ["generationConfig.mediaResolution"],
    ),
    "pictures in a document": (
        "messages",
        {"messages": [{"role": "user", "content": [
            {"type": "document", "source": {"type": "content", "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image", "source": {"type": "url", "url": "https://a.test"}}]}}]}]},
        "openai", ["messages.content.source.content.image"],
    ),
    "chat": ("chat/completions", {"messages": SAYS, "seed": 3}, "anthropic", ["seed"]),
}  # fmt: skip


@pytest.mark.parametrize(("endpoint", "body", "to", "names"), CASES.values(), ids=CASES)
def test_loss_is_named_as_the_client_names_it(
    endpoint: str, body: Any, to: str, names: list[str]
) -> None:
    request = WireRequest(endpoint, msgspec.json.encode(body), endpoint=endpoint)
    lenient = Translations(lenient=True).translate(request, DIALECTS[to], model="m", stream=False)
    assert lenient.dropped == tuple(names)
    with pytest.raises(UntranslatableError) as caught:
        Translations(lenient=False).translate(request, DIALECTS[to], model="m", stream=False)
    assert str(caught.value).startswith(", ".join(names) + ": ")


DETAILS = {
    "none lost": ("high", "messages", {}),
    "low": ("low", "generateContent", {"mediaResolution": "MEDIA_RESOLUTION_LOW"}),
    "high": ("high", "generateContent", {}),
    "auto": ("auto", "generateContent", {}),
}


@pytest.mark.parametrize(("detail", "endpoint", "config"), DETAILS.values(), ids=DETAILS)
def test_detail_of_pictures_is_carried(detail: str, endpoint: str, config: Any) -> None:
    image = {"url": "https://a.test/b.png", "detail": detail}
    content = [{"type": "image_url", "image_url": image}]
    body = msgspec.json.encode({"messages": [{"role": "user", "content": content}]})
    request = WireRequest("chat/completions", body, endpoint="chat/completions")
    to = next(known for known in DIALECTS.values() if known.endpoint == endpoint)
    found = Translations(lenient=False).translate(request, to, model="m", stream=False)
    assert found.dropped == ()
    assert msgspec.json.decode(found.request.body).get("generationConfig", {}) == config


@pytest.mark.parametrize(
    ("level", "detail"),
    [("MEDIA_RESOLUTION_LOW", "low"), ("MEDIA_RESOLUTION_HIGH", "high"),
     ("MEDIA_RESOLUTION_UNSPECIFIED", None)],
)  # fmt: skip
def test_resolution_of_a_picture_is_its_detail(level: str, detail: str | None) -> None:
    part = {
        "inlineData": {"mimeType": "image/png", "data": "AAAA"},
        "mediaResolution": {"level": level},
    }
    body = msgspec.json.encode({"contents": [{"parts": [part]}]})
    request = WireRequest("generateContent", body, endpoint="generateContent")
    found = Translations(lenient=False).translate(
        request, DIALECTS["openai"], model="m", stream=False
    )
    [message] = msgspec.json.decode(found.request.body)["messages"]
    [image] = message["content"]
    assert image["image_url"].get("detail") == detail


THINKS = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
SEALED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
SIGNED = {"text": "Hm.", "thought": True, "thoughtSignature": "c2ln"}
OPAQUE: dict[str, tuple[str, Any, str, tuple[str, ...]]] = {
    "messages": (
        "messages", {"messages": [*SAYS, {"role": "assistant", "content": [THINKS]}, *SAYS]},
        "openai", ("messages.content.thinking",),
    ),
    "responses": (
        "responses", {"input": [*SAYS, SEALED, *SAYS]},
        "anthropic", ("input.encrypted_content",),
    ),
    "gemini": (
        "generateContent",
        {"contents": [{"parts": [{"text": "Hi!"}]}, {"role": "model", "parts": [SIGNED]}]},
        "openai-responses", ("contents.parts.thoughtSignature",),
    ),
    "chat": (
        "chat/completions",
        {"messages": [*SAYS, {"role": "assistant", "content": "", "reasoning_details": [
            {"type": "reasoning.text", "text": "Hm.", "signature": "s", "format": "gemini"}]}]},
        "anthropic", ("messages.reasoning_details",),
    ),
    "its own": (
        "chat/completions",
        {"messages": [*SAYS, {"role": "assistant", "content": "", "reasoning_details": [
            {"type": "reasoning.text", "text": "Hm.", "signature": "s", "format": "gemini"}]}]},
        "gemini", (),
    ),
    "not opaque": (
        "chat/completions",
        {"messages": [*SAYS, {"role": "assistant", "content": "", "reasoning_content": "Hm."}]},
        "gemini", (),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("endpoint", "body", "to", "names"), OPAQUE.values(), ids=OPAQUE)
def test_opaque_reasoning_that_stays_behind_is_told_and_refuses_nothing(
    endpoint: str, body: Any, to: str, names: tuple[str, ...]
) -> None:
    request = WireRequest(endpoint, msgspec.json.encode(body), endpoint=endpoint)
    found = Translations(lenient=False).translate(request, DIALECTS[to], model="m", stream=False)
    assert found.dropped == names
