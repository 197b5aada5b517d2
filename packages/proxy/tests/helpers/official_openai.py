"""OpenAI's client: chat completions and responses."""

import json
from typing import Any, ClassVar

import openai
from official_client import Ask, Client, Said, url_of


class _OpenAI(Client):
    errors: ClassVar = {
        "unknown": openai.NotFoundError,
        "invalid": openai.BadRequestError,
        "limited": openai.RateLimitError,
        "overloaded": openai.InternalServerError,
        "broken": openai.APIError,
    }

    def __init__(self, url: str, *, syncs: bool) -> None:
        super().__init__(url, syncs=syncs)
        kind: Any = openai.OpenAI if syncs else openai.AsyncOpenAI
        self.sdk = kind(base_url=f"{url}/v1", api_key="any", max_retries=0)


class Chat(_OpenAI):
    """OpenAI's chat completions."""

    async def say(self, model: str, turns: list[Any], ask: Ask, *, streams: bool) -> Said:
        system = [{"role": "system", "content": ask.system}] if ask.system else []
        wish: dict[str, Any] = {
            "model": model, "messages": [*system, *turns], "max_completion_tokens": ask.cap,
        }  # fmt: skip
        if ask.tools:
            wish["tools"] = [
                {"type": "function", "function": {"name": name, "parameters": schema}}
                for name, schema in ask.tools.items()
            ]
        if ask.schema:
            shape = {"name": "shape", "schema": ask.schema, "strict": True}
            wish["response_format"] = {"type": "json_schema", "json_schema": shape}
        if ask.stop:
            wish["stop"] = ask.stop
        if ask.thinks:
            wish["reasoning_effort"] = "low"
        if streams:
            options = {"include_usage": True}
            opening = self.sdk.chat.completions.stream(**wish, stream_options=options)
            made = await self.streamed(opening, "get_final_completion")
        else:
            made = await self.run(self.sdk.chat.completions.create, **wish)
        return self._said(made)

    def _said(self, made: Any) -> Said:
        choice = made.choices[0]
        message = choice.message
        details = made.usage.prompt_tokens_details
        return Said(
            message.content or "",
            (message.model_extra or {}).get("reasoning_content") or "",
            [
                (call.id, call.function.name, json.loads(call.function.arguments))
                for call in message.tool_calls or ()
            ],
            {"tool_calls": "tools"}.get(choice.finish_reason, choice.finish_reason),
            made.usage.prompt_tokens, made.usage.completion_tokens,
            (details.cached_tokens or 0) if details else 0,
            [message.model_dump(exclude_none=True, exclude={"parsed"})],
        )  # fmt: skip

    def user(self, text: str, png: bytes = b"", pdf: bytes = b"") -> Any:
        content: list[Any] = []
        if png:
            content.append({"type": "image_url", "image_url": {"url": url_of("image/png", png)}})
        if pdf:
            file = {"filename": "a.pdf", "file_data": url_of("application/pdf", pdf)}
            content.append({"type": "file", "file": file})
        content.append({"type": "text", "text": text})
        return {"role": "user", "content": content if png or pdf else text}

    def results(self, said: Said, text: str) -> list[Any]:
        return [
            {"role": "tool", "tool_call_id": call, "content": text} for call, _, _ in said.calls
        ]


class Responses(_OpenAI):
    """OpenAI's responses, none of which is kept."""

    async def say(self, model: str, turns: list[Any], ask: Ask, *, streams: bool) -> Said:
        wish: dict[str, Any] = {
            "model": model, "input": [item for turn in turns for item in _listed(turn)],
            "max_output_tokens": ask.cap, "store": False,
            "include": ["reasoning.encrypted_content"],
        }  # fmt: skip
        if ask.system:
            wish["instructions"] = ask.system
        if ask.tools:
            wish["tools"] = [
                {"type": "function", "name": name, "parameters": schema, "strict": False}
                for name, schema in ask.tools.items()
            ]
        if ask.schema:
            shape = {"name": "shape", "schema": ask.schema, "strict": True}
            wish["text"] = {"format": {"type": "json_schema", **shape}}
        if ask.thinks:
            wish["reasoning"] = {"effort": "low", "summary": "auto"}
        if streams:
            made = await self.streamed(self.sdk.responses.stream(**wish), "get_final_response")
        else:
            made = await self.run(self.sdk.responses.create, **wish)
        return self._said(made)

    def _said(self, made: Any) -> Said:
        calls = [
            (item.call_id, item.name, json.loads(item.arguments))
            for item in made.output
            if item.type == "function_call"
        ]
        thoughts = [
            part.text
            for item in made.output
            if item.type == "reasoning"
            for part in item.summary or item.content or ()
        ]
        finish = "tools" if calls else "stop"
        if made.status == "incomplete":
            finish = {"max_output_tokens": "length"}[made.incomplete_details.reason]
        return Said(
            made.output_text, "".join(thoughts), calls, finish,
            made.usage.input_tokens, made.usage.output_tokens,
            made.usage.input_tokens_details.cached_tokens,
            [
                item.model_dump(exclude_none=True, exclude={"parsed_arguments", "status"})
                for item in made.output
            ],
        )  # fmt: skip

    def user(self, text: str, png: bytes = b"", pdf: bytes = b"") -> Any:
        content: list[Any] = []
        if png:
            content.append({"type": "input_image", "image_url": url_of("image/png", png)})
        if pdf:
            file = {"filename": "a.pdf", "file_data": url_of("application/pdf", pdf)}
            content.append({"type": "input_file", **file})
        content.append({"type": "input_text", "text": text})
        return {"role": "user", "content": content if png or pdf else text}

    def results(self, said: Said, text: str) -> list[Any]:
        return [
            {"type": "function_call_output", "call_id": call, "output": text}
            for call, _, _ in said.calls
        ]


def _listed(turn: Any) -> list[Any]:
    return turn if isinstance(turn, list) else [turn]
