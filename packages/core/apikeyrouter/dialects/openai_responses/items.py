"""Items of a response: what a model or a tool has said, as parts of the neutral form.

Proofs and encrypted reasoning of other dialects travel in an item's `encrypted_content`, so that
they come back with the next request.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

import msgspec

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Losses,
    Media,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from apikeyrouter.dialects.data_urls import split_data_url
from apikeyrouter.dialects.json_values import object_in, objects_in, text_in

NAME = "openai-responses"
#: Begins what is not OpenAI's own.
_SEALED = "sealed-1."
#: Between the parts of a summary.
PARAGRAPH = "\n\n"


class _Sealed(msgspec.Struct, array_like=True):
    origin: str
    signature: str
    encrypted: str


def sealed(thought: Thinking) -> str:
    """Return the `encrypted_content` of *thought*; empty if there is nothing to prove."""
    if not (thought.encrypted or thought.signature):
        return ""
    if thought.origin == NAME:
        return thought.encrypted
    proof = _Sealed(thought.origin, thought.signature, thought.encrypted)
    return _SEALED + base64.urlsafe_b64encode(msgspec.json.encode(proof)).decode()


def _unsealed(content: str) -> _Sealed:
    if not content.startswith(_SEALED):
        return _Sealed(NAME if content else "", "", content)
    try:
        proof = base64.urlsafe_b64decode(content.removeprefix(_SEALED))
        return msgspec.json.decode(proof, type=_Sealed)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return _Sealed("", "", "")


def read_reasoning(item: dict[str, Any]) -> Thinking:
    """Read a reasoning item: its summary, or else what it was thought in full."""
    told = objects_in(item.get("summary")) or objects_in(item.get("content"))
    proof = _unsealed(text_in(item.get("encrypted_content")))
    return Thinking(
        text=PARAGRAPH.join(text_in(part.get("text")) for part in told),
        signature=proof.signature,
        encrypted=proof.encrypted,
        id=text_in(item.get("id")),
        origin=proof.origin,
    )


def read_call(item: dict[str, Any]) -> ToolCall:
    """Read a call of a function."""
    return ToolCall(
        id=text_in(item.get("call_id")) or text_in(item.get("id")),
        name=text_in(item.get("name")),
        arguments=text_in(item.get("arguments")) or "{}",
    )


def read_result(item: dict[str, Any], losses: Losses) -> ToolResult:
    """Read what a function answered."""
    content = read_content(item.get("output"), losses)
    return ToolResult(
        call_id=text_in(item.get("call_id")),
        content=[part for part in content if isinstance(part, Text | Media)],
    )


def read_output(items: object) -> list[AnyPart]:
    """Read what a model has said; calls of tools that ran elsewhere are left out."""
    parts: list[AnyPart] = []
    for item in objects_in(items):
        match item.get("type"):
            case "message":
                parts += read_content(item.get("content"), Losses())
            case "function_call":
                parts.append(read_call(item))
            case "reasoning":
                parts.append(read_reasoning(item))
    return parts


def read_content(content: object, losses: Losses) -> Iterator[AnyPart]:
    """Yield the parts of a message; what cannot be carried goes to *losses*."""
    if isinstance(content, str):
        yield Text(text=content)
    for part in objects_in(content):
        kind = text_in(part.get("type"))
        read = _PARTS.get(kind)
        found = read(part) if read is not None else None
        if found is None:
            losses.lack(f"input.content.{kind}")
            continue
        if isinstance(part.get("prompt_cache_breakpoint"), dict):
            found.cache = "5m"
        yield found


def _read_text(part: dict[str, Any]) -> AnyPart:
    return Text(text=text_in(part.get("text")))


def _read_refusal(part: dict[str, Any]) -> AnyPart:
    return Refusal(text=text_in(part.get("refusal")))


def _read_image(part: dict[str, Any]) -> AnyPart | None:
    detail = text_in(part.get("detail"))
    if file_id := text_in(part.get("file_id")):
        return Media(kind="image", file_id=file_id, detail=detail)
    url = text_in(part.get("image_url"))
    if inline := split_data_url(url):
        return Media(kind="image", mime=inline[0], data=inline[1], detail=detail)
    return Media(kind="image", url=url, detail=detail) if url else None


def _read_file(part: dict[str, Any]) -> AnyPart | None:
    name = text_in(part.get("filename"))
    if file_id := text_in(part.get("file_id")):
        return Media(kind="document", file_id=file_id, name=name)
    if url := text_in(part.get("file_url")):
        return Media(kind="document", url=url, name=name)
    data = text_in(part.get("file_data"))
    if not data:
        return None
    mime, base64_data = split_data_url(data) or ("application/pdf", data)
    return Media(kind="document", mime=mime, data=base64_data, name=name)


def _read_audio(part: dict[str, Any]) -> AnyPart | None:
    audio = object_in(part.get("input_audio"))
    name, data = text_in(audio.get("format")) or "wav", text_in(audio.get("data"))
    mime = "audio/mpeg" if name == "mp3" else f"audio/{name}"
    return Media(kind="audio", data=data, mime=mime) if data else None


_PARTS = {
    "input_text": _read_text,
    "output_text": _read_text,
    "text": _read_text,
    "refusal": _read_refusal,
    "input_image": _read_image,
    "input_file": _read_file,
    "input_audio": _read_audio,
}


def output_item(part: AnyPart, item_id: str, status: str = "completed") -> dict[str, Any]:
    """Return the item of a response that says *part*; empty where the part says nothing yet."""
    match part:
        case ToolCall():
            return {
                "id": item_id, "type": "function_call", "status": status, "call_id": part.id,
                "name": part.name, "arguments": part.arguments,
            }  # fmt: skip
        case Thinking():
            summary = [{"type": "summary_text", "text": part.text}] if part.text else []
            item: dict[str, Any] = {"id": item_id, "type": "reasoning", "summary": summary}
            return {**item, "encrypted_content": proof} if (proof := sealed(part)) else item
    content = [content_of(part)] if isinstance(part, Text | Refusal) and part.text else []
    return {
        "id": item_id, "type": "message", "role": "assistant", "status": status,
        "content": content,
    }  # fmt: skip


def content_of(part: Text | Refusal) -> dict[str, Any]:
    """Return what a message of the model contains."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}


def item_id_of(part: AnyPart, response_id: str, index: int) -> str:
    """Return the name of the item that says *part*, the *index*-th of a response."""
    prefix = {ToolCall: "fc", Thinking: "rs"}.get(type(part), "msg")
    return f"{prefix}_{response_id.removeprefix('resp_')}_{index}"
