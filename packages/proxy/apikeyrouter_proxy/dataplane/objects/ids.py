"""Ids of objects: which ones a request names, and which ones an answer tells of.

An object is named in a path by its kind and its id (`files/file-1`). In a body ids stand
anywhere, and are told from other words by being known.
"""

import re
from collections.abc import Iterator
from itertools import islice, pairwise

import msgspec

#: What has ids of its own, as paths name it.
KINDS = (
    "files", "batches", "vector_stores", "conversations", "responses", "videos", "uploads",
    "jobs", "containers", "interactions", "cachedContents",
)  # fmt: skip
#: What an answer calls itself -> its kind.
_KIND_BY_OBJECT = {
    "file": "files", "batch": "batches", "vector_store": "vector_stores",
    "conversation": "conversations", "response": "responses", "video": "videos",
    "upload": "uploads", "fine_tuning.job": "jobs", "container": "containers",
    "message_batch": "batches",
}  # fmt: skip
_WORD = re.compile(rb'"(?:files/|cachedContents/)?([\w.-]{4,128})"')
#: Ids as providers make them up; no client can have words that others use taken for its own.
_MADE_UP = re.compile(
    r"(?:file|batch|vs|conv|resp|video|upload|ftjob|cntr|container|msgbatch)[-_].{4,}"
)
_LONGEST_READ_BYTES = 2**20
_MOST_WORDS = 512
_MOST_LISTED = 1000

#: Members of a conversation whose values are ids, and bytes that stand in every body with one.
_MENTIONS = (b'file_id', b'file_uri"', b'fileUri"', b'"uri"', b'vector_store_id', b'"conversation"',
             b'"container"', b'cachedContent"', b'cached_content"')  # fmt: skip
_MENTION = re.compile(
    rb'"(?:[a-z_]*file_ids?|vector_store_ids?|file_uri|fileUri|uri|conversation|container'
    rb'|cachedContent|cached_content)"'
)
#: What may stand there: an id, a path or an address that ends with one, an object, a list.
_MENTIONED = re.compile(
    rb'\s*+:\s*+(?:\[([^\]]{0,4096}+)\]|(?:\{\s*+"id"\s*+:\s*+)?+'
    rb'("(?:[^"\\/]{0,100}+/){0,8}+[\w.-]{4,128}+"))'
)
#: The last part of such a value, and of which kind it is where a path says so.
_LAST_PART = re.compile(rb'(?:"|(\w{1,40})/)([\w.-]{4,128})"')
_MOST_MENTIONS = 64

ObjectName = tuple[str, str]


def is_made_up(word: str) -> bool:
    """Tell whether a word is an id that a provider has made up, and nothing that people write."""
    return _MADE_UP.fullmatch(word) is not None


def names_in_path(path: str) -> Iterator[ObjectName]:
    """Yield what *path*, decoded, names."""
    parts = path.split("/")
    for kind, object_id in pairwise(parts):
        if kind in KINDS and object_id:
            # `models/x:generateContent` and its like act on what stands before the colon.
            yield kind, object_id.partition(":")[0]


def names_in_body(body: bytes) -> Iterator[ObjectName]:
    """Yield what a JSON body may name: each word in quotes, as an object of every kind."""
    words = _WORD.finditer(body[:_LONGEST_READ_BYTES])
    for number, found in enumerate(words):
        if number == _MOST_WORDS:
            return
        for kind in KINDS:
            yield kind, found[1].decode()


def names_in_talk(body: bytes) -> Iterator[ObjectName]:
    """Yield what a conversation may name: files, stores of them, what it goes on from."""
    if not any(mark in body for mark in _MENTIONS):
        return
    found: list[tuple[bytes, bytes]] = []
    for mention in islice(_MENTION.finditer(body), _MOST_MENTIONS):
        value = _MENTIONED.match(body, mention.end())
        if value is not None:
            found += _LAST_PART.findall(value[1] or value[2] or b"")
    for said, word in found:
        # An address of something else ends with any word.
        kinds = [kind for kind in KINDS if kind == said.decode()] if said else KINDS
        for kind in kinds:
            yield kind, word.decode()


def names_in_answer(body: bytes, kind: str) -> Iterator[ObjectName]:
    """Yield the objects that an answer tells of.

    Args:
        kind: What is asked of a path that names no single object; empty if another is.
    """
    answer = _object_in(body)
    yield from _names_of(answer, kind)
    for listed in ("data", kind):
        entries = answer.get(listed)
        if listed and isinstance(entries, list):
            for entry in entries[:_MOST_LISTED]:
                if isinstance(entry, dict):
                    yield from _names_of(entry, kind)


def names_in_told(data: bytes, member: str, kind: str) -> Iterator[ObjectName]:
    """Yield the object of *kind* that the data of an event tells of in *member*."""
    told = _object_in(data).get(member)
    name = told.get("id") if isinstance(told, dict) else None
    if isinstance(name, str) and name:
        yield kind, name


def _names_of(told: dict[str, object], kind: str) -> Iterator[ObjectName]:
    own = told.get("object") or told.get("type")
    kind = _KIND_BY_OBJECT.get(own, kind) if isinstance(own, str) else kind
    # Google's objects are named by their path.
    name = told.get("id") or told.get("name")
    if kind and isinstance(name, str):
        yield kind, name.rpartition("/")[2]
    for member, value in told.items():
        if member.endswith("file_id") and isinstance(value, str):
            yield "files", value
        elif member == "result_files" and isinstance(value, list):
            yield from (("files", each) for each in value if isinstance(each, str))
        elif member == "file" and isinstance(value, dict):
            yield from _names_of(value, "files")


def _object_in(body: bytes) -> dict[str, object]:
    if len(body) > _LONGEST_READ_BYTES or not body.lstrip().startswith(b"{"):
        return {}
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
