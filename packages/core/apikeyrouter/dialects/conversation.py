"""The neutral form of a conversation: what one dialect is read into and another is written from.

It exists only between two different dialects; bytes of the same dialect pass. A dialect
reads and writes what it can carry and names the rest to `Losses`, so that
nothing is lost without a word.
"""

import hashlib
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import msgspec

_ODD = re.compile(r"[^\w.\[\]/: -]", re.ASCII)
_LONGEST_NAME, _MOST_NAMES = 80, 32


class UntranslatableError(ValueError):
    """A request has parts that the provider's dialect cannot carry; the message names them.

    Attributes:
        param: The first of them, as the client's dialect calls it; `None` if it is none.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Losses:
    """What could not be carried over, by its name in the client's dialect; each named once.

    Names may be the client's own: they are shown in headers and messages, so that only plain
    ones are kept whole, and so many.
    """

    def __init__(self) -> None:
        self.names: list[str] = []

    def lack(self, name: str) -> None:
        """Note that *name* has no counterpart and was left out."""
        plain = _ODD.sub("?", name[:_LONGEST_NAME])
        if plain not in self.names and len(self.names) < _MOST_NAMES:
            self.names.append(plain)


#: Names of chats: how closely to look at a picture, and opaque reasoning.
DETAIL = "messages.content.image_url.detail"
REASONING = "messages.reasoning_details"

# -- parts -------------------------------------------------------------------


class Part(msgspec.Struct, kw_only=True):
    """A piece of a message.

    Attributes:
        cache: Mark that a prompt cache may end here: `5m`, `1h`; empty for none.
    """

    cache: str = ""


class Text(Part):
    """Plain text."""

    text: str


class Media(Part):
    """An image, a document or a sound: exactly one of data, url and file id is set.

    Attributes:
        kind: What it is.
        data: Base64, without a `data:` prefix.
        mime: Such as `image/png`; empty when it is not known.
        name: File name or title; empty when it has none.
        detail: How closely an image is looked at: `low`, `high`, `auto`; empty when not said.
    """

    kind: Literal["image", "document", "audio"]
    data: str = ""
    url: str = ""
    file_id: str = ""
    mime: str = ""
    name: str = ""
    detail: str = ""


class ToolCall(Part):
    """The model wants a tool to be called.

    Attributes:
        id: Made up where the dialect has none; results name it.
        arguments: A JSON object, as text.
        signature: Opaque; has to come back with the call, where a dialect demands it.
    """

    id: str
    name: str
    arguments: str = "{}"
    signature: str = ""


class ToolResult(Part):
    """What a tool answered.

    Attributes:
        call_id: Of the call that it answers.
        name: Of the tool; empty when the dialect does not say (the calls before it do).
        content: Text and media.
    """

    call_id: str
    name: str = ""
    content: "list[Text | Media]" = []
    is_error: bool = False


class Thinking(Part):
    """The model's reasoning.

    Attributes:
        text: What may be read of it.
        signature: Opaque proof that it is the model's own; has to come back unchanged.
        encrypted: The whole of it, opaque; has to come back unchanged.
        id: Of the item that carries it, where a dialect names one.
        origin: Dialect of signature and encrypted text: no other provider can use them.
    """

    text: str = ""
    signature: str = ""
    encrypted: str = ""
    id: str = ""
    origin: str = ""


class Refusal(Part):
    """The model's own words for not answering."""

    text: str


AnyPart: TypeAlias = Text | Media | ToolCall | ToolResult | Thinking | Refusal


# -- requests ----------------------------------------------------------------


class Turn(msgspec.Struct):
    """One message. System prompts before the first turn stand in `Conversation.system`.

    Attributes:
        role: `system` here is an instruction in the middle of a conversation.
        name: Of who speaks, where a dialect tells participants apart.
    """

    role: Literal["user", "assistant", "system"]
    parts: list[AnyPart] = []
    name: str = ""

    def media(self) -> Iterator[Media]:
        """Yield its pictures, documents and sounds, those that tools gave back too."""
        for part in self.parts:
            inner = part.content if isinstance(part, ToolResult) else (part,)
            yield from (media for media in inner if isinstance(media, Media))


class Tool(msgspec.Struct):
    """A function that the model may call.

    Attributes:
        parameters: JSON schema of the arguments; `None` when it takes none.
        strict: Arguments must fit the schema exactly; `None` when not said.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    cache: str = ""


class ToolChoice(msgspec.Struct):
    """Whether tools are to be called.

    Attributes:
        names: With `required`: only these may be called; empty admits all.
        parallel: Whether several calls may come at once; `None` when not said.
    """

    mode: Literal["auto", "none", "required"] = "auto"
    names: list[str] = []
    parallel: bool | None = None


class OutputFormat(msgspec.Struct):
    """What the answer's text has to be: any JSON object, or one of a schema."""

    schema: dict[str, Any] | None = None
    name: str = ""
    description: str = ""
    strict: bool | None = None


class Reasoning(msgspec.Struct):
    """How much the model thinks before it answers.

    Attributes:
        effort: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`; empty when not said.
        budget_tokens: The most tokens it may think; `None` when not said; -1: as many as it
            likes.
        shows: Whether its thoughts are wanted in the answer; `None` when not said.
    """

    effort: str = ""
    budget_tokens: int | None = None
    shows: bool | None = None


class Sampling(msgspec.Struct):
    """How tokens are drawn; `None` leaves it to the provider."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


class Conversation(msgspec.Struct):
    """One request of a chat.

    Attributes:
        max_output_tokens: The caller's cap; `None` when there is none.
        stop: Texts at which the answer ends.
        choices: How many answers are wanted.
        tells_usage: Whether the client's stream tells usage; some dialects always do.
        asks_usage: Whether the provider is to be asked for usage in its stream, where it has to.
        service_tier: As the client named it; empty when not said.
        user: The client's name for its own user; empty when not said.
        metadata: Labels for the provider's records.
    """

    model: str = ""
    system: list[Text] = []
    turns: list[Turn] = []
    tools: list[Tool] = []
    tool_choice: ToolChoice | None = None
    output_format: OutputFormat | None = None
    reasoning: Reasoning | None = None
    sampling: Sampling = msgspec.field(default_factory=Sampling)
    max_output_tokens: int | None = None
    stop: list[str] = []
    choices: int = 1
    stream: bool = False
    tells_usage: bool = True
    asks_usage: bool = True
    service_tier: str = ""
    user: str = ""
    metadata: dict[str, str] = {}

    def user_within(self, most: int) -> str:
        """Return the user's name, or its hash where it has more than *most* characters."""
        if len(self.user) <= most:
            return self.user
        return hashlib.sha256(self.user.encode("utf-8", "surrogatepass")).hexdigest()


# -- answers -----------------------------------------------------------------


class Finish(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSE = "pause"
    CONTEXT_LENGTH = "context_length"


class Counts(msgspec.Struct):
    """Tokens of one request.

    Attributes:
        input: All of the input, what came from a cache or went into one included.
        output: All of the output, reasoning included.
        cached: Of the input, read from a cache.
        cache_written: Of the input, written to a cache; `cache_written_1h` is a part of it.
        reasoning: Of the output.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_written: int = 0
    cache_written_1h: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0


class Reply(msgspec.Struct):
    """One whole answer.

    Attributes:
        id: The provider's; empty if it gave none.
        created: Epoch seconds; 0 if it did not say.
        stop_sequence: The text at which it ended, with `Finish.STOP_SEQUENCE`.
        tier: The service tier that served it; empty if it did not say.
    """

    id: str = ""
    model: str = ""
    parts: list[AnyPart] = []
    finish: Finish | None = None
    stop_sequence: str | None = None
    counts: Counts | None = None
    tier: str = ""
    created: int = 0


# -- answers in pieces ---------------------------------------------------------


class Started(msgspec.Struct):
    """The answer begins. Comes once, before all others."""

    id: str = ""
    model: str = ""
    created: int = 0
    counts: Counts | None = None


class PartBegan(msgspec.Struct):
    """A part begins: its text or arguments follow in `PartGrew`.

    Attributes:
        index: Counts the answer's parts from 0; parts may grow in turns.
        part: With what is known of it so far: a tool call has its id and name. Of a whole
            answer it has everything.
    """

    index: int
    part: AnyPart


class PartGrew(msgspec.Struct):
    """A part grows: *text* is appended to its text or its arguments."""

    index: int
    text: str = ""
    signature: str = ""
    encrypted: str = ""


class PartEnded(msgspec.Struct):
    """A part is complete."""

    index: int


class Finished(msgspec.Struct):
    """The answer is complete; figures may still follow in `Counted`."""

    finish: Finish
    stop_sequence: str | None = None


class Counted(msgspec.Struct):
    """Tokens so far; the last one counts."""

    counts: Counts
    tier: str = ""


class Broken(msgspec.Struct):
    """The provider put an error into its stream: nothing follows.

    Attributes:
        status: The HTTP status that it would have had.
        kind: OpenAI's type for it, such as `rate_limit_error`.
    """

    message: str
    status: int = 500
    kind: str = "server_error"
    code: str | None = None


Delta: TypeAlias = Started | PartBegan | PartGrew | PartEnded | Finished | Counted | Broken
