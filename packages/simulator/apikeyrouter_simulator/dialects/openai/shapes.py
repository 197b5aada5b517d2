"""OpenAI's shapes: requests read, answers, streams, errors and rate-limit headers written."""

import base64
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from apikeyrouter_simulator.dialects import wording
from apikeyrouter_simulator.dialects.wording import WORDS, text_of
from apikeyrouter_simulator.quotas.limits import Reading, Shortfall

_DIMENSIONS = {"requests": "requests", "tokens": "tokens"}
#: What a call must have besides the model, by the kind of its endpoint.
_NEEDED = {"chat": "messages", "text": "prompt", "embeddings": "input"}
_VECTOR = (0.1, -0.2, 0.3, 0.4)
_VECTOR_BASE64 = base64.b64encode(struct.pack("<4f", *_VECTOR)).decode()


class StreamOptions(msgspec.Struct):
    """What of `stream_options` matters here."""

    include_usage: bool | None = None


class Request(msgspec.Struct):
    """What of a request matters here."""

    model: str
    messages: list[msgspec.Raw] | None = None
    prompt: str | list[msgspec.Raw] | None = None
    input: str | list[msgspec.Raw] | None = None
    encoding_format: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: msgspec.Raw = msgspec.Raw()

    @property
    def cap(self) -> int | None:
        """The most output tokens that the caller allows."""
        return self.max_completion_tokens or self.max_tokens


class _Role(msgspec.Struct):
    role: str = ""


class _Content(msgspec.Struct):
    content: str | list[msgspec.Raw] | None = None


class _Function(msgspec.Struct):
    name: str = "tool"


class _Tool(msgspec.Struct):
    function: _Function = msgspec.field(default_factory=_Function)


_request_decoder = msgspec.json.Decoder(Request)


def read(kind: str, body: bytes) -> Request | str:
    """Read a request of an endpoint's kind, or say what is wrong with it."""
    try:
        request = _request_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)
    field = _NEEDED[kind]
    if getattr(request, field) is None:
        return f"Missing required parameter: '{field}'."
    return request


def inputs(request: Request) -> int:
    """Return how many inputs are to be embedded; a bare list of token numbers is one."""
    given = request.input
    if not isinstance(given, list) or not given:
        return 1
    return len(given) if bytes(given[0])[:1] in (b'"', b"[") else 1


def text_tokens(request: Request) -> int:
    """Return the input tokens of the text alone: a quarter of it, and 4 for every message."""
    texts = [_text_in(message) + 16 for message in request.messages or ()]
    for given in (request.prompt, request.input):
        texts += [len(given)] if isinstance(given, str) else [len(bytes(g)) for g in given or ()]
    return max(1, sum(texts) // 4)


def last_word(request: Request) -> str:
    """Return the last word of a chat; nothing if there is none."""
    if not request.messages:
        return ""
    content = msgspec.json.decode(request.messages[-1], type=_Content).content
    return wording.last_word(content) if isinstance(content, str) else ""


def _text_in(message: msgspec.Raw) -> int:
    content = msgspec.json.decode(message, type=_Content).content
    if isinstance(content, str):
        return len(content)
    return sum(len(bytes(part)) for part in content or ())


def tools_called(request: Request, body: bytes) -> list[str]:
    """Return the tools that the answer calls, when a user asks and may have one."""
    if not request.tools or not request.messages or bytes(request.tool_choice) == b'"none"':
        return []
    roles = (
        msgspec.json.decode(message, type=_Role).role for message in reversed(request.messages)
    )
    # Instructions may follow what a user asks.
    if next((role for role in roles if role not in ("system", "developer")), "") != "user":
        return []
    names = [msgspec.json.decode(tool, type=_Tool).function.name for tool in request.tools]
    return wording.tools_called(names, body)


def usage(given: int, made: int) -> dict[str, int]:
    """Return the usage object."""
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


@lru_cache(maxsize=4096)
def _plain(endpoint: str, model: str, given: int, made: int, finish: str) -> bytes:
    return _answer(endpoint, model, given, made, finish, text_of(made))


def _answer(endpoint: str, model: str, given: int, made: int, finish: str, text: str) -> bytes:
    """Return a plain answer without its beginning, which holds the id."""
    if endpoint == "chat":
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        kind = "chat.completion"
    else:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        kind = "text_completion"
    data = {
        "object": kind, "created": 1760000000, "model": model,
        "choices": [choice], "usage": usage(given, made),
    }  # fmt: skip
    return msgspec.json.encode(data)[1:]


def plain(
    endpoint: str, name: str, model: str, given: int, made: int, finish: str, *, echo: str = ""
) -> bytes:
    """Write a whole answer, which begins with *echo*."""
    if echo:
        rest = _answer(endpoint, model, given, made, finish, f"{echo} {text_of(made)}")
    else:
        rest = _plain(endpoint, model, given, made, finish)
    return b'{"id":"' + name.encode() + b'",' + rest


def tool_answer(
    name: str, model: str, tools: Sequence[str], arguments: str, given: int, made: int
) -> bytes:
    """Write a whole answer that calls tools."""
    calls = [_call(tool, number, arguments) for number, tool in enumerate(tools, 1)]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return msgspec.json.encode(
        {
            "id": name, "object": "chat.completion", "created": 1760000000, "model": model,
            "choices": [choice], "usage": usage(given, made),
        }
    )  # fmt: skip


def _call(tool: str, number: int, arguments: str) -> dict[str, object]:
    function = {"name": tool, "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}


def _call_deltas(tools: Sequence[str], arguments: str) -> Iterator[dict[str, object]]:
    """Yield the deltas that call tools: one alone at once, several piece by piece."""
    if len(tools) == 1:
        calls = [{"index": 0, **_call(tools[0], 1, arguments)}]
        yield {"role": "assistant", "tool_calls": calls}
        return
    for i, tool in enumerate(tools):
        yield {"role": "assistant", "tool_calls": [{"index": i, **_call(tool, i + 1, "")}]}
    for part in (arguments[:6], arguments[6:]):
        # The arguments of all calls grow side by side.
        for i in range(len(tools)):
            yield {"tool_calls": [{"index": i, "function": {"arguments": part}}]}


def chunks(
    endpoint: str,
    name: str,
    model: str,
    made: int,
    finish: str,
    *,
    tools: Sequence[str],
    arguments: str,
    usage_too: bool,
    echo: str = "",
) -> Iterator[bytes]:
    """Write the events of a stream that begins with *echo*, without usage and `[DONE]`."""
    if tools:
        for delta in _call_deltas(tools, arguments):
            yield _chunk(endpoint, name, model, delta, usage_too)
        yield _chunk(endpoint, name, model, {}, usage_too, finish="tool_calls")
        return
    if endpoint == "chat":
        yield _chunk(endpoint, name, model, {"role": "assistant", "content": ""}, usage_too)
    head, tail = _piece(endpoint, name, model, usage_too)
    if echo:
        yield head + msgspec.json.encode(f"{echo} ")[1:-1] + tail
    for i in range(made):
        yield head + WORDS[i % len(WORDS)].encode() + tail
    yield _chunk(endpoint, name, model, {}, usage_too, finish=finish)


def _piece(endpoint: str, name: str, model: str, usage_too: bool) -> tuple[bytes, bytes]:
    delta = {"content": "\0"} if endpoint == "chat" else {"text": "\0"}
    head, _, tail = _chunk(endpoint, name, model, delta, usage_too).partition(b"\\u0000")
    return head, tail


def _chunk(
    endpoint: str,
    name: str,
    model: str,
    delta: Mapping[str, object],
    usage_too: bool,
    finish: str | None = None,
) -> bytes:
    choice: dict[str, object] = {"index": 0, "finish_reason": finish}
    choice = {**choice, "delta": delta} if endpoint == "chat" else {**choice, "text": "", **delta}
    return _event(_stream_head(endpoint, name, model) | {"choices": [choice]}, None, usage_too)


def usage_chunk(endpoint: str, name: str, model: str, given: int, made: int) -> bytes:
    """Write the event that carries usage alone."""
    head = _stream_head(endpoint, name, model) | {"choices": []}
    return _event(head, usage(given, made), True)


def _stream_head(endpoint: str, name: str, model: str) -> dict[str, object]:
    kind = "chat.completion.chunk" if endpoint == "chat" else "text_completion"
    return {"id": name, "object": kind, "created": 1760000000, "model": model}


def _event(data: dict[str, object], told: dict[str, int] | None, usage_too: bool) -> bytes:
    if usage_too:
        data = data | {"usage": told}
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def embeddings(request: Request, given: int) -> bytes:
    """Write an answer with a small vector for every input."""
    vector = _VECTOR_BASE64 if request.encoding_format == "base64" else _VECTOR
    data = [
        {"object": "embedding", "index": i, "embedding": vector} for i in range(inputs(request))
    ]
    return msgspec.json.encode(
        {
            "object": "list", "data": data, "model": request.model,
            "usage": {"prompt_tokens": given, "total_tokens": given},
        }
    )  # fmt: skip


def models(names: Sequence[str]) -> bytes:
    """Write the list of models."""
    return msgspec.json.encode({"object": "list", "data": [model(name) for name in names]})


def model(name: str) -> dict[str, object]:
    """Return what is told of a model."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "simulator"}


def error(message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    """Write an error."""
    return msgspec.json.encode(
        {"error": {"message": message, "type": kind, "param": param, "code": code}}
    )


def refusal(lack: Shortfall, model: str, scope: str, label: str) -> bytes:
    """Write the body of a 429."""
    kind = "tokens" if "token" in label else "requests"
    if lack.is_too_large:
        message = (
            f"Request too large for {model} in organization {scope} on {label}: "
            f"Limit {lack.limit:.0f}, Requested {lack.requested:.0f}."
        )
    else:
        message = (
            f"Rate limit reached for {model} in organization {scope} on {label}: "
            f"Limit {lack.limit:.0f}, Used {lack.used:.0f}, Requested {lack.requested:.0f}. "
            f"Please try again in {duration(lack.wait_s)}."
        )
    return error(message, kind, "rate_limit_exceeded")


def limit_headers(
    readings: Iterator[Reading],
    hidden: Sequence[str],
    *,
    requests_are: str | None = None,
    only_remaining: bool = False,
) -> list[tuple[bytes, bytes]]:
    """Write the rate-limit headers: the first told window of requests and of tokens.

    Args:
        requests_are: Only this window is told as requests (`rpd` for Groq).
        only_remaining: Tell neither limit nor reset.
    """
    headers: list[tuple[bytes, bytes]] = []
    told: set[str] = set()
    for reading in readings:
        dimension = _DIMENSIONS.get(reading.kind.dimension)
        if dimension is None or dimension in told or reading.kind.name in hidden:
            continue
        if dimension == "requests" and requests_are not in (None, reading.kind.name):
            continue
        told.add(dimension)
        name = dimension.encode()
        remaining = b"%d" % math.floor(reading.remaining + 1e-6)
        headers.append((b"x-ratelimit-remaining-" + name, remaining))
        if not only_remaining:
            headers.append((b"x-ratelimit-limit-" + name, b"%d" % reading.limit))
            reset = duration(reading.reset_s).encode()
            headers.append((b"x-ratelimit-reset-" + name, reset))
    return headers


def duration(seconds: float) -> str:
    """Write a duration as OpenAI does: `20ms`, `8.64s`, `6m0s`, `1h2m3s`."""
    if seconds < 1.0:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60.0:
        return f"{math.ceil(seconds * 1000) / 1000:g}s"
    whole = math.ceil(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}h{minutes}m{secs}s" if hours else f"{minutes}m{secs}s"
