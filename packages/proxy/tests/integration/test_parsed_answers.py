"""Answers as objects: what official clients parse of keys of every kind.

Each client makes a schema of a type of the user's, and an object of the answer. The provider must
be shown that schema in its own dialect, and the client the answer in a shape it parses.
"""

import json
from typing import Any, Literal

import anthropic
import openai
import pytest
from google import genai
from google.genai import types
from pydantic import BaseModel

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]


class Town(BaseModel):
    name: str
    river: str | None


class Place(BaseModel):
    kind: Literal["city", "village"]
    people: int
    towns: list[Town]


PLACE = Place(
    kind="city", people=7, towns=[Town(name="Ulm", river="Donau"), Town(name="A", river=None)]
)
TEXT = PLACE.model_dump_json()
CHAT = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None,
                 "message": {"role": "assistant", "content": TEXT, "refusal": None}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
}  # fmt: skip
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed",
    "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
    "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": TEXT, "annotations": []}]}],
    "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [],
    "top_p": 1.0, "usage": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
}  # fmt: skip
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
    "content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 7},
}  # fmt: skip
CONTENT = {
    "candidates": [{"index": 0, "finishReason": "STOP",
                    "content": {"role": "model", "parts": [{"text": TEXT}]}}],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12},
}  # fmt: skip
#: Provider -> its kind, the end of its path, its answer, and where its requests have the schema.
PROVIDERS: dict[str, tuple[str, str, Any, tuple[str, ...]]] = {
    "chat": ("openai", "/chat/completions", CHAT, ("response_format", "json_schema", "schema")),
    "responses": ("openai", "/responses", RESPONSE, ("text", "format", "schema")),
    "anthropic": ("anthropic", "/messages", MESSAGE, ("output_config", "format", "schema")),
    "gemini": (
        "gemini", ":generateContent", CONTENT, ("generationConfig", "responseJsonSchema"),
    ),
}  # fmt: skip


class Provider:
    """Answers one path with one answer; keeps what it was sent."""

    def __init__(self, name: str) -> None:
        _, self._path, self._answer, self._schema_at = PROVIDERS[name]
        self.asked: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        status, told = 404, {"error": {"message": "there is nothing here", "type": "x"}}
        if scope["path"].endswith(self._path):
            self.asked.append(json.loads(body))
            status, told = 200, self._answer
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    @property
    def schema(self) -> Any:
        """The schema that it was shown, in its own dialect's place or in Gemini's older one."""
        [found] = self.asked
        if "responseSchema" in found.get("generationConfig", {}):
            return found["generationConfig"]["responseSchema"]
        for name in self._schema_at:
            found = found[name]
        return found


def by_chat(url: str) -> Any:
    client = openai.OpenAI(base_url=url + "/v1", api_key="any", max_retries=0)
    made = client.chat.completions.parse(
        model="m", messages=[{"role": "user", "content": "Where?"}], response_format=Place
    )
    return made.choices[0].message.parsed


def by_responses(url: str) -> Any:
    client = openai.OpenAI(base_url=url + "/v1", api_key="any", max_retries=0)
    return client.responses.parse(model="m", input="Where?", text_format=Place).output_parsed


def by_messages(url: str) -> Any:
    client = anthropic.Anthropic(base_url=url, api_key="any", max_retries=0)
    made = client.messages.parse(
        model="m", max_tokens=900, messages=[{"role": "user", "content": "Where?"}],
        output_format=Place,
    )  # fmt: skip
    return made.parsed_output


def by_contents(url: str) -> Any:
    options = types.HttpOptions(base_url=url, api_version="v1beta")
    config = types.GenerateContentConfig(
        response_mime_type="application/json", response_schema=Place
    )
    with genai.Client(api_key="any", http_options=options) as client:
        return client.models.generate_content(model="m", contents="Where?", config=config).parsed


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("ask", [by_chat, by_responses, by_messages, by_contents])
def test_answer_is_parsed(ask: Any, provider: str, serve: Any) -> None:
    kind = PROVIDERS[provider][0]
    asked = Provider(provider)
    base = serve(asked).url + ("/v1" if kind == "openai" else "")
    entry: dict[str, Any] = {"kind": kind, "base_url": base}
    if provider == "responses":
        entry["dialects"] = ["openai-responses"]
    proxy = serve(
        {"providers": {"p": entry}, "keys": [{"id": "k", "provider": "p", "secret": "sk-1"}]}
    )
    assert ask(proxy.url) == PLACE
    schema = asked.schema
    assert list(schema["properties"]) == ["kind", "people", "towns"]
    assert schema["required"] == ["kind", "people", "towns"]
