"""One way to ask through each official client, so that one test can hold for all of them."""

import asyncio
import base64
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass
class Said:
    """What a model answered, as its client tells it.

    Attributes:
        finish: `stop`, `tools` or `length`.
        given: Input tokens, cached ones included.
        turn: What the client would keep of it for the next request.
    """

    text: str = ""
    thoughts: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    finish: str = ""
    given: int = 0
    made: int = 0
    cached: int = 0
    turn: list[Any] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names of the tools that it calls."""
        return [name for _, name, _ in self.calls]


@dataclass
class Ask:
    """What is wanted of a model, in no client's words."""

    system: str = ""
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    schema: dict[str, Any] | None = None
    stop: list[str] = field(default_factory=list)
    cap: int = 4000
    thinks: bool = False


class Client(ABC):
    """An official client before the proxy at *url*."""

    #: Its exceptions, by what happened.
    errors: ClassVar[dict[str, type[Exception]]]

    def __init__(self, url: str, *, syncs: bool) -> None:
        self.url = url
        self.syncs = syncs

    async def run(self, call: Any, *args: Any, **more: Any) -> Any:
        """Call, in a thread if the client is of the blocking kind."""
        if self.syncs:
            return await asyncio.to_thread(call, *args, **more)
        return await call(*args, **more)

    async def streamed(self, opening: Any, final: str) -> Any:
        """Read a stream that opens as a context to its end; return what *final* gives."""

        def read() -> Any:
            with opening as stream:
                for _ in stream:
                    pass
                return getattr(stream, final)()

        if self.syncs:
            return await asyncio.to_thread(read)
        async with AsyncExitStack() as stack:
            stream = await stack.enter_async_context(opening)
            async for _ in stream:
                pass
            return await getattr(stream, final)()

    @abstractmethod
    async def say(self, model: str, turns: list[Any], ask: Ask, *, streams: bool) -> Said:
        """Ask, and return the whole answer."""

    @abstractmethod
    def user(self, text: str, png: bytes = b"", pdf: bytes = b"") -> Any:
        """Return a turn of the user."""

    @abstractmethod
    def results(self, said: Said, text: str) -> list[Any]:
        """Return turns that answer every call."""

    async def close(self) -> None:
        """Close the connections."""
        await self.run(self.sdk.close)

    sdk: Any


def url_of(mime: str, data: bytes) -> str:
    """Return data as an address."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
