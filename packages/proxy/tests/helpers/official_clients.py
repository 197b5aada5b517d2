"""Anthropic's and Google's clients, and a table of all."""

import asyncio
import base64
from typing import Any, ClassVar

import anthropic
from google import genai
from google.genai import errors, types
from official_client import Ask, Client, Said
from official_openai import Chat, Responses


class Messages(Client):
    """Anthropic's messages."""

    errors: ClassVar = {
        "unknown": anthropic.NotFoundError,
        "invalid": anthropic.BadRequestError,
        "limited": anthropic.RateLimitError,
        "overloaded": anthropic.InternalServerError,
        "broken": anthropic.APIError,
    }

    def __init__(self, url: str, *, syncs: bool) -> None:
        super().__init__(url, syncs=syncs)
        kind: Any = anthropic.Anthropic if syncs else anthropic.AsyncAnthropic
        self.sdk = kind(base_url=url, api_key="any", max_retries=0)

    async def say(self, model: str, turns: list[Any], ask: Ask, *, streams: bool) -> Said:
        wish: dict[str, Any] = {"model": model, "messages": turns, "max_tokens": ask.cap}
        if ask.system:
            wish["system"] = ask.system
        if ask.tools:
            wish["tools"] = [
                {"name": name, "input_schema": schema} for name, schema in ask.tools.items()
            ]
        if ask.schema:
            wish["output_config"] = {"format": {"type": "json_schema", "schema": ask.schema}}
        if ask.stop:
            wish["stop_sequences"] = ask.stop
        if ask.thinks:
            wish["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        if streams:
            made = await self.streamed(self.sdk.messages.stream(**wish), "get_final_message")
        else:
            made = await self.run(self.sdk.messages.create, **wish)
        return self._said(made)

    def _said(self, made: Any) -> Said:
        usage = made.usage
        cached = usage.cache_read_input_tokens or 0
        return Said(
            "".join(block.text for block in made.content if block.type == "text"),
            "".join(block.thinking for block in made.content if block.type == "thinking"),
            [(b.id, b.name, b.input) for b in made.content if b.type == "tool_use"],
            {"end_turn": "stop", "tool_use": "tools", "max_tokens": "length"}[made.stop_reason],
            usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
            usage.output_tokens, cached, [{"role": "assistant", "content": made.content}],
        )  # fmt: skip

    def user(self, text: str, png: bytes = b"", pdf: bytes = b"") -> Any:
        content: list[Any] = [
            {
                "type": kind,
                "source": {
                    "type": "base64", "media_type": mime,
                    "data": base64.b64encode(data).decode(),
                },
            }
            for kind, mime, data in (
                ("image", "image/png", png), ("document", "application/pdf", pdf),
            )
            if data
        ]  # fmt: skip
        return {"role": "user", "content": [*content, {"type": "text", "text": text}]}

    def results(self, said: Said, text: str) -> list[Any]:
        content = [
            {"type": "tool_result", "tool_use_id": call, "content": text}
            for call, _, _ in said.calls
        ]
        return [{"role": "user", "content": content}]


class Contents(Client):
    """Google's generated contents."""

    errors: ClassVar = {
        "unknown": errors.ClientError,
        "invalid": errors.ClientError,
        "limited": errors.ClientError,
        "overloaded": errors.ServerError,
        "broken": errors.APIError,
    }

    def __init__(self, url: str, *, syncs: bool) -> None:
        super().__init__(url, syncs=syncs)
        options = types.HttpOptions(base_url=url, api_version="v1beta")
        self._client = genai.Client(api_key="any", http_options=options)
        self.sdk = self._client if syncs else self._client.aio

    async def close(self) -> None:
        await self._client.aio.aclose()
        self._client.close()

    async def say(self, model: str, turns: list[Any], ask: Ask, *, streams: bool) -> Said:
        config = types.GenerateContentConfig(
            system_instruction=ask.system or None, max_output_tokens=ask.cap,
            stop_sequences=ask.stop or None,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )  # fmt: skip
        if ask.tools:
            declared = [
                types.FunctionDeclaration(name=name, parameters_json_schema=schema)
                for name, schema in ask.tools.items()
            ]
            config.tools = [types.Tool(function_declarations=declared)]
        if ask.schema:
            config.response_mime_type = "application/json"
            config.response_json_schema = ask.schema
        if ask.thinks:
            config.thinking_config = types.ThinkingConfig(
                include_thoughts=True, thinking_budget=1024
            )
        asked: dict[str, Any] = {"model": model, "contents": turns, "config": config}
        if not streams:
            return self._said([await self.run(self.sdk.models.generate_content, **asked)])
        if self.syncs:
            stream = self.sdk.models.generate_content_stream
            return self._said(await asyncio.to_thread(lambda: list(stream(**asked))))
        pieces = await self.sdk.models.generate_content_stream(**asked)
        return self._said([piece async for piece in pieces])

    def _said(self, pieces: list[Any]) -> Said:
        contents = [p.candidates[0].content for p in pieces if p.candidates]
        parts = [part for content in contents if content for part in content.parts or ()]
        calls = [part.function_call for part in parts if part.function_call]
        reason = next(
            c.finish_reason for p in reversed(pieces) for c in p.candidates or () if c.finish_reason
        )
        usage = pieces[-1].usage_metadata
        finish = {"STOP": "stop", "MAX_TOKENS": "length"}[reason.name]
        return Said(
            "".join(part.text or "" for part in parts if not part.thought),
            "".join(part.text or "" for part in parts if part.thought),
            [(call.id, call.name, call.args) for call in calls],
            "tools" if calls else finish, usage.prompt_token_count or 0,
            (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
            usage.cached_content_token_count or 0, [c for c in contents if c and c.parts],
        )  # fmt: skip

    def user(self, text: str, png: bytes = b"", pdf: bytes = b"") -> Any:
        parts = [
            types.Part.from_bytes(data=data, mime_type=mime)
            for mime, data in (("image/png", png), ("application/pdf", pdf))
            if data
        ]
        return types.Content(role="user", parts=[*parts, types.Part(text=text)])

    def results(self, said: Said, text: str) -> list[Any]:
        parts = [
            types.Part.from_function_response(name=name, response={"output": text})
            for _, name, _ in said.calls
        ]
        return [types.Content(role="user", parts=parts)]


CLIENTS: dict[str, type[Client]] = {
    "chat": Chat, "responses": Responses, "messages": Messages, "contents": Contents,
}  # fmt: skip
