"""One request between two dialects: out as the provider's, its answer back as the client's.

A request is read once, however many providers are tried. What a dialect cannot carry
refuses the request by name, or is left out and named in `dropped`, as the operator chose.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from apikeyrouter.dialects.catalogue import dialect_of
from apikeyrouter.dialects.conversation import (
    REASONING,
    Broken,
    Conversation,
    Counted,
    Delta,
    Finished,
    Losses,
    PartBegan,
    PartEnded,
    Reply,
    Started,
    Thinking,
    UntranslatableError,
)
from apikeyrouter.dialects.dialect import BadBodyError, Dialect, Tap
from apikeyrouter.dialects.rendering import DeltaReader, DeltaWriter, Rendering
from apikeyrouter.dialects.tool_names import ToolNames
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.domain.models.token_usage import Usage

_JSON = {"content-type": "application/json", "accept": "application/json"}
_EVENTS = {"content-type": "application/json", "accept": "text/event-stream"}


class Translations:
    """What is kept of one client's request while providers are tried for it.

    Args:
        lenient: Leave out what cannot be carried, rather than refuse.
    """

    def __init__(self, *, lenient: bool) -> None:
        self._lenient = lenient
        self._read: Conversation | None = None
        self._unread = Losses()

    def translate(
        self,
        request: WireRequest,
        provider: Dialect,
        *,
        model: str,
        stream: bool,
        asks_usage: bool = True,
    ) -> "Translation":
        """Write the client's *request*, whose body is not packed, in the dialect of *provider*.

        Args:
            model: The provider's own name of the model.
            asks_usage: Whether the provider understands being asked for usage in a stream.

        Raises:
            BadBodyError: It is no valid request.
            UntranslatableError: It has what the provider's dialect cannot carry.
        """
        try:
            return self._translate(
                request, provider, model=model, stream=stream, asks_usage=asks_usage
            )
        except RecursionError:
            raise BadBodyError("the body nests too deeply to be translated") from None

    def _translate(
        self, request: WireRequest, provider: Dialect, *, model: str, stream: bool, asks_usage: bool
    ) -> "Translation":
        client = dialect_of(request.endpoint)
        reading = _rendering_of(client)
        writing = _rendering_of(provider)
        if self._read is None:
            self._read = reading.read_request(_object_in(request.body), self._unread)
        conversation = msgspec.structs.replace(
            self._read, model=model, stream=stream, asks_usage=asks_usage
        )
        losses = Losses()
        names = ToolNames(conversation, writing.longest_tool_name)
        written = writing.write_request(names.outward(conversation), losses)
        unwritten = [reading.field_names.get(name, name) for name in losses.names]
        dropped = tuple(dict.fromkeys([*self._unread.names, *unwritten]))
        if dropped and not self._lenient:
            raise _untranslatable(dropped, provider)
        if _leaves_reasoning(conversation, writing.own_reasoning):
            # Nobody can help it, and conversations go on without it: told, never refused.
            dropped = (*dropped, reading.field_names.get(REASONING, REASONING))
        target = writing.target(conversation)
        headers = {**(_EVENTS if stream else _JSON), **target.headers}
        written_request = WireRequest(
            target.path,
            written,
            headers,
            query=target.query,
            endpoint=provider.endpoint,
            model=model,
        )
        written_request.left_out = dropped
        written_request.asks_usage = stream and asks_usage and writing.asks_for_usage
        return Translation(
            written_request,
            conversation,
            dropped,
            names,
            client=client,
            provider=provider,
        )


class Translation:
    """One request as it goes to a provider, and what turns the answer back.

    Attributes:
        request: Without the provider's credential.
        dropped: What was left out, by its names in the client's dialect.
        stream_type: Of the client's streams, as `Content-Type` names it.
    """

    def __init__(
        self,
        request: WireRequest,
        conversation: Conversation,
        dropped: tuple[str, ...],
        names: ToolNames,
        *,
        client: Dialect,
        provider: Dialect,
    ) -> None:
        self.request = request
        self.dropped = dropped
        self.stream_type = client.stream_type
        self._conversation = conversation
        self._names = names
        self._client = _rendering_of(client)
        self._provider = _rendering_of(provider)

    def answer(self, body: bytes) -> bytes:
        """Return a whole answer as the client reads it.

        Raises:
            BadBodyError: It is no JSON object.
        """
        return self._client.write_reply(self._reply_in(body))

    def answer_in_pieces(self, body: bytes) -> bytes:
        """Return a whole answer as the stream that the client has asked for."""
        writer = self._client.delta_writer(self._conversation)
        events = [writer.feed(delta) for delta in _deltas_of(self._reply_in(body))]
        return b"".join((*events, writer.finish()))

    def tap(self, inner: Tap) -> "TranslatingTap":
        """Return a tap that passes on what the client reads; *inner* reads the provider's."""
        writer = self._client.delta_writer(self._conversation)
        return TranslatingTap(inner, self._provider.delta_reader(), writer, self._names)

    def _reply_in(self, body: bytes) -> Reply:
        reply = self._provider.read_reply(_object_in(body))
        return msgspec.structs.replace(reply, parts=self._names.inward(reply.parts))


class TranslatingTap:
    """Reads the provider's stream, and passes on the client's."""

    __slots__ = ("_inner", "_is_broken", "_names", "_reader", "_writer")

    def __init__(
        self, inner: Tap, reader: DeltaReader, writer: DeltaWriter, names: ToolNames
    ) -> None:
        self._names = names
        self._inner = inner
        self._reader = reader
        self._writer = writer
        self._is_broken = False

    @property
    def usage(self) -> Usage | None:
        """The last usage that was told so far."""
        return self._inner.usage

    @property
    def complete(self) -> bool:
        """Whether the provider's stream has said that it is complete."""
        return self._inner.complete

    @property
    def error(self) -> bytes | None:
        """The first error that the provider put into its stream."""
        return self._inner.error

    @property
    def output_chunks(self) -> int:
        """About how many pieces of output came from the provider."""
        return self._inner.output_chunks

    def feed(self, chunk: bytes) -> bytes:
        """Take the provider's next bytes; return the client's, often none."""
        return self._written(self._reader.feed(self._inner.feed(chunk)))

    def finish(self) -> bytes:
        """End the stream; one that broke off is ended by whoever tells the client."""
        rest = self._written(self._reader.feed(self._inner.finish()))
        rest += self._written(self._reader.finish())
        is_whole = self._inner.complete and not self._is_broken
        return rest + self._writer.finish() if is_whole else rest

    def _written(self, deltas: Iterable[Delta]) -> bytes:
        parts = []
        for delta in deltas:
            if self._is_broken:
                break
            self._is_broken = isinstance(delta, Broken)
            if isinstance(delta, PartBegan):
                delta = self._names.inward_began(delta)
            parts.append(self._writer.feed(delta))
        return b"".join(parts)


def _deltas_of(reply: Reply) -> list[Delta]:
    deltas: list[Delta] = [Started(reply.id, reply.model, reply.created, reply.counts)]
    for index, part in enumerate(reply.parts):
        deltas += [PartBegan(index, part), PartEnded(index)]
    if reply.finish is not None:
        deltas.append(Finished(reply.finish, reply.stop_sequence))
    if reply.counts is not None:
        deltas.append(Counted(reply.counts, reply.tier))
    return deltas


def _leaves_reasoning(conversation: Conversation, own: str) -> bool:
    """Tell whether there is opaque reasoning whose origin does not begin with *own*."""
    return any(
        isinstance(part, Thinking)
        and bool(part.encrypted or part.signature)
        and not (own and part.origin.startswith(own))
        for turn in conversation.turns
        for part in turn.parts
    )


def _rendering_of(dialect: Dialect) -> Rendering:
    assert dialect.rendering is not None  # noqa: S101 - no other is chosen for translation
    return dialect.rendering


def _object_in(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBodyError(f"the body is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadBodyError("the body should be a JSON object")
    return found


def _untranslatable(names: tuple[str, ...], provider: Dialect) -> UntranslatableError:
    listed = ", ".join(names)
    return UntranslatableError(
        f"{listed}: cannot be carried over to the '{provider.name}' dialect of the provider that "
        "has this model; leave it out, or set translation: lenient to have it dropped",
        names[0],
    )
