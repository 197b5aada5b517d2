"""Parts of contents, read and written; names are understood in both of Google's spellings."""

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from apikeyrouter.dialects.conversation import AnyPart, Media, Text, Thinking, ToolCall
from apikeyrouter.dialects.gemini.conversations.signatures import ORIGIN, unwrapped
from apikeyrouter.dialects.json_values import decoded, object_in, text_in

#: Files that only Google can open.
_GOOGLES = re.compile(
    r"gs://|https://generativelanguage\.googleapis\.com/|https?://(?:www\.)?youtu(?:be\.com|\.be)/"
)
#: What a resolution is called as the detail of a picture.
DETAILS = {"LOW": "low", "HIGH": "high", "ULTRA_HIGH": "high"}
_UPPER = re.compile(r"(?<!^)([A-Z])")
_ENDINGS = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp",
    "gif": "image/gif", "heic": "image/heic", "pdf": "application/pdf", "txt": "text/plain",
    "mp3": "audio/mp3", "wav": "audio/wav", "html": "text/html", "csv": "text/csv",
}  # fmt: skip


@lru_cache(maxsize=256)
def _snake(name: str) -> str:
    return _UPPER.sub(r"_\1", name).lower()


def camel(name: str) -> str:
    """Return a name in the spelling of JSON, whichever it is in."""
    first, *rest = name.split("_")
    return name if not first else first + "".join(word[:1].upper() + word[1:] for word in rest)


def member(found: dict[str, Any], name: str) -> Any:
    """Return what *found* has as *name*, in either spelling; `None` if nothing."""
    value = found.get(name)
    return found.get(_snake(name)) if value is None else value


def made_up_id(*facts: object) -> str:
    """Return an id for a call that has none; of the same facts always the same."""
    text = "\0".join(map(str, facts)).encode("utf-8", "surrogatepass")
    return f"call_{hashlib.sha256(text).hexdigest()[:24]}"


def read_spoken(part: dict[str, Any], call_id: str) -> Iterator[AnyPart]:
    """Yield what the model says with one part: text, thoughts, a call, a picture.

    Args:
        call_id: Of the call that it may be, if the part names none.
    """
    signature = text_in(member(part, "thoughtSignature"))
    foreign = unwrapped(signature) if signature else None
    call = member(part, "functionCall")
    if isinstance(call, dict):
        if foreign is not None:
            yield foreign
        yield read_call(call, call_id, "" if foreign is not None else signature)
        return
    text = text_in(part.get("text"))
    if part.get("thought") is True:
        thought = foreign or Thinking(text=text, signature=signature, origin=ORIGIN)
        if thought.text or thought.signature or thought.encrypted:
            yield thought
        return
    if text:
        yield Text(text=text)
    if signature:
        yield foreign or Thinking(signature=signature, origin=ORIGIN)
    media = read_media(part)
    if media is not None:
        yield media


def read_call(call: dict[str, Any], call_id: str, signature: str) -> ToolCall:
    """Read a call of a function."""
    arguments = msgspec.json.encode(object_in(call.get("args"))).decode()
    return ToolCall(
        id=text_in(call.get("id")) or call_id,
        name=text_in(call.get("name")),
        arguments=arguments,
        signature=signature,
    )


def read_media(part: dict[str, Any]) -> Media | None:
    """Read a picture, a document or a sound; `None` where a part is none, or a film."""
    inline, file = object_in(member(part, "inlineData")), object_in(member(part, "fileData"))
    source = inline or file
    if not source:
        return None
    mime, name = text_in(member(source, "mimeType")), text_in(member(source, "displayName"))
    url = text_in(member(file, "fileUri"))
    kind = mime.partition("/")[0]
    if kind == "video" or (not mime and "youtu" in url):
        return None
    media = Media(kind="document", mime=mime, name=name)
    if kind == "image" or kind == "audio":
        media.kind = "image" if kind == "image" else "audio"
    if kind == "image":
        media.detail = DETAILS.get(level_of(part), "")
    if inline:
        media.data = text_in(inline.get("data")).replace("-", "+").replace("_", "/")
    elif _GOOGLES.match(url):
        media.file_id = url
    else:
        media.url = url
    return media


def level_of(part: dict[str, Any]) -> str:
    """Return at which resolution a part's media are wanted; empty if it does not say."""
    level = text_in(object_in(member(part, "mediaResolution")).get("level"))
    return level.removeprefix("MEDIA_RESOLUTION_").replace("UNSPECIFIED", "")


def media_part(media: Media) -> dict[str, Any] | None:
    """Write media; `None` where they are a file that another provider keeps."""
    if media.data:
        return {"inlineData": {"mimeType": media.mime or _USUAL[media.kind], "data": media.data}}
    url = media.url or (media.file_id if _GOOGLES.match(media.file_id) else "")
    if not url:
        return None
    file = {"fileUri": url}
    if mime := media.mime or _ENDINGS.get(url.rpartition(".")[2].lower(), ""):
        file["mimeType"] = mime
    return {"fileData": file}


_USUAL = {"image": "image/png", "audio": "audio/wav", "document": "application/pdf"}


def call_part(call: ToolCall, *, with_id: bool) -> dict[str, Any]:
    """Write a call of a function."""
    found: dict[str, Any] = {"name": call.name, "args": _arguments_of(call.arguments)}
    if with_id and call.id:
        found = {"id": call.id, **found}
    return {"functionCall": found}


def _arguments_of(text: str) -> dict[str, Any]:
    """Return arguments as an object; text that is none is kept under a name."""
    found = decoded(text)
    if found or not text.strip() or text.strip() == "{}":
        return found
    return {"arguments": text}


def thought_part(thought: Thinking, signature: str) -> dict[str, Any] | None:
    """Write a thought: its text as one, a mere signature beside empty text; `None` for nothing."""
    if thought.text:
        part: dict[str, Any] = {"text": thought.text, "thought": True}
    elif signature:
        part = {"text": ""}
    else:
        return None
    return {**part, "thoughtSignature": signature} if signature else part
