"""Blocks of content, read and written: the same in requests and in replies."""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from apikeyrouter.dialects.anthropic.rendering.signatures import (
    is_own,
    packed,
    packed_call,
    unpacked,
)
from apikeyrouter.dialects.conversation import (
    DETAIL,
    AnyPart,
    Losses,
    Media,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from apikeyrouter.dialects.json_values import decoded, object_in, objects_in, text_in

Block = dict[str, Any]
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
#: How pictures begin, in base64.
_IMAGES = (("iVBOR", "image/png"), ("/9j/", "image/jpeg"), ("R0lG", "image/gif"))


# -- reading -------------------------------------------------------------------


def read_blocks(blocks: Iterable[Block], losses: Losses) -> list[AnyPart]:
    """Read blocks; those that cannot be carried go to *losses*, by their type."""
    parts: list[AnyPart] = []
    #: Signature by the id of the call that it belongs to.
    signatures: dict[str, str] = {}
    for block in blocks:
        kind = text_in(block.get("type"))
        if kind == "tool_result":
            part: AnyPart | None = _read_result(block, losses)
        else:
            part = read_part(block, losses)
        if part is None:
            losses.lack(f"messages.content.{kind}")
        elif isinstance(part, ToolCall) and not part.name and part.signature:
            signatures[part.id] = part.signature
        else:
            part.cache = cache_of(block)
            if isinstance(part, ToolCall):
                part.signature = signatures.get(part.id, "")
            parts.append(part)
    return parts


def read_part(block: Block, losses: Losses | None = None) -> AnyPart | None:
    """Read a block; `None` if it cannot be carried.

    A block of thought may stand for the signature of a call: that is a call without a name.
    """
    read = _READERS.get(text_in(block.get("type")))
    if losses is not None and object_in(block.get("citations")).get("enabled") is True:
        losses.lack("messages.content.citations")
    if losses is not None and block.get("type") == "document":
        _name_losses_of_document(block, losses)
    return read(block) if read is not None else None


def _name_losses_of_document(block: Block, losses: Losses) -> None:
    if block.get("context"):
        losses.lack("messages.content.context")
    for inner in objects_in(object_in(block.get("source")).get("content")):
        if inner.get("type") != "text":
            losses.lack(f"messages.content.source.content.{text_in(inner.get('type'))}")


def cache_of(block: Block) -> str:
    """Return how long a cache keeps what ends here; empty for not at all."""
    mark = block.get("cache_control")
    return text_in(mark.get("ttl")) or "5m" if isinstance(mark, dict) else ""


def _read_text(block: Block) -> AnyPart:
    return Text(text=text_in(block.get("text")))


def _read_thinking(block: Block) -> AnyPart:
    return unpacked(text_in(block.get("thinking")), text_in(block.get("signature")))


def _read_redacted(block: Block) -> AnyPart:
    return Thinking(encrypted=text_in(block.get("data")), origin="anthropic")


def _read_call(block: Block) -> AnyPart:
    return ToolCall(
        id=text_in(block.get("id")),
        name=text_in(block.get("name")),
        arguments=arguments_of(block.get("input")),
    )


def arguments_of(given: object) -> str:
    """Return a call's input as text."""
    return encoded(object_in(given))


def _read_media(block: Block) -> AnyPart | None:
    kind = "image" if block.get("type") == "image" else "document"
    source = object_in(block.get("source"))
    media = Media(
        kind=kind,  # type: ignore[arg-type] # one of them
        url=text_in(source.get("url")), file_id=text_in(source.get("file_id")),
        name=text_in(block.get("title")),
    )  # fmt: skip
    data = text_in(source.get("data"))
    if source.get("type") == "text":
        media.mime = text_in(source.get("media_type")) or "text/plain"
        media.data = base64.b64encode(data.encode("utf-8", "surrogatepass")).decode()
    elif data:
        media.data, media.mime = data, text_in(source.get("media_type"))
    return media if media.data or media.url or media.file_id else _read_inline(source, media)


def _read_inline(source: Block, media: Media) -> AnyPart | None:
    """Read a document of blocks as its text."""
    content = source.get("content")
    if isinstance(content, str):
        content = [{"text": content}]
    texts = [text_in(block.get("text")) for block in objects_in(content)]
    if not any(texts):
        return None
    media.mime = "text/plain"
    media.data = base64.b64encode("\n".join(texts).encode("utf-8", "surrogatepass")).decode()
    return media


def _read_result(block: Block, losses: Losses) -> ToolResult:
    content = block.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    parts = read_blocks(objects_in(content), losses)
    return ToolResult(
        call_id=text_in(block.get("tool_use_id")),
        content=[part for part in parts if isinstance(part, Text | Media)],
        is_error=block.get("is_error") is True,
    )


_READERS: Mapping[str, Callable[[Block], AnyPart | None]] = {
    "text": _read_text,
    "thinking": _read_thinking,
    "redacted_thinking": _read_redacted,
    "tool_use": _read_call,
    "image": _read_media,
    "document": _read_media,
}


# -- writing -------------------------------------------------------------------


def write_blocks(parts: Sequence[AnyPart], losses: Losses, *, replies: bool = False) -> list[Block]:
    """Write blocks; what has no counterpart goes to *losses*.

    Args:
        replies: To a client, who brings back whatever thoughts it is given; else to Anthropic,
            which takes none but its own.
    """
    blocks: list[Block] = []
    for part in parts:
        if isinstance(part, ToolResult):
            block: Block | None = _result_of(part, losses)
        elif isinstance(part, Media):
            block = media_of(part, losses)
        else:
            block = block_of(part, replies=replies)
        if block is None:
            continue
        if replies and isinstance(part, ToolCall) and part.signature:
            blocks.append(thinking_block("", packed_call(part)))
        blocks.append(_marked(block, part.cache))
    return blocks


def block_of(part: AnyPart, *, replies: bool) -> Block | None:
    """Write a part that has text; `None` if there is nothing of it to write."""
    match part:
        case Text() | Refusal():
            # Empty text is refused.
            return {"type": "text", "text": part.text} if part.text or replies else None
        case ToolCall():
            return {
                "type": "tool_use", "id": id_of(part.id), "name": part.name,
                "input": decoded(part.arguments or "{}"),
            }  # fmt: skip
        case Thinking():
            return _thought_of(part, replies=replies)
    return None


def thinking_block(text: str, signature: str) -> Block:
    """Return a block of thought."""
    return {"type": "thinking", "thinking": text, "signature": signature}


def id_of(call_id: str) -> str:
    """Return the id of a call in the letters that ids may have."""
    return _NOT_IN_IDS.sub("_", call_id) or "call"


def cache_control(cache: str) -> dict[str, str]:
    """Return the mark of what a cache may keep."""
    mark = {"type": "ephemeral"}
    return mark if cache == "5m" else {**mark, "ttl": cache}


def _marked(block: Block, cache: str) -> Block:
    if cache and block["type"] not in ("thinking", "redacted_thinking"):
        block["cache_control"] = cache_control(cache)
    return block


def _thought_of(thought: Thinking, *, replies: bool) -> Block | None:
    if is_own(thought) and thought.encrypted:
        return {"type": "redacted_thinking", "data": thought.encrypted}
    if not replies and not (is_own(thought) and thought.signature):
        return None
    return thinking_block(thought.text, packed(thought))


def _result_of(result: ToolResult, losses: Losses) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": id_of(result.call_id)}
    content = write_blocks(result.content, losses)
    if len(content) == 1 and set(content[0]) == {"type", "text"}:
        block["content"] = content[0]["text"]
    elif content:
        block["content"] = content
    if result.is_error:
        block["is_error"] = True
    return block


def media_of(media: Media, losses: Losses) -> Block | None:
    """Write an image or a document; `None` if it has no counterpart, which *losses* is told."""
    source = _source_of(media) if media.kind != "audio" else None
    if source is None:
        # Files belong to the account that they were given to.
        losses.lack(f"{media.kind} {'by file id' if media.file_id else media.mime}".strip())
        return None
    if media.detail == "low":
        # It looks at every picture as closely as it can.
        losses.lack(DETAIL)
    block: Block = {"type": media.kind, "source": source}
    if media.name and media.kind == "document":
        block["title"] = media.name
    return block


def _source_of(media: Media) -> Block | None:
    if media.file_id:
        return None
    if media.url:
        return {"type": "url", "url": media.url}
    if media.kind == "image":
        mime = media.mime or _mime_of_image(media.data)
        return {"type": "base64", "media_type": mime, "data": media.data}
    if media.mime.startswith("text/"):
        text = _text_in(media.data)
        return None if text is None else {"type": "text", "media_type": "text/plain", "data": text}
    if media.mime in ("application/pdf", ""):
        return {"type": "base64", "media_type": "application/pdf", "data": media.data}
    return None


def _mime_of_image(data: str) -> str:
    return next((mime for start, mime in _IMAGES if data.startswith(start)), "image/webp")


def _text_in(data: str) -> str | None:
    try:
        return base64.b64decode(data).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        return None


def encoded(value: object) -> str:
    """Return *value* as JSON."""
    return msgspec.json.encode(value).decode()
