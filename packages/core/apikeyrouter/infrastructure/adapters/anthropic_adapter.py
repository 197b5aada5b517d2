"""Anthropic, and whoever else speaks its dialect."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from apikeyrouter.dialects.anthropic.usage import usage_of_event
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.interfaces.wire import WireRequest, WireResponse
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.models.system_response import ResponseChunk
from apikeyrouter.infrastructure.adapters.catalogue.layout import Layout, Probe
from apikeyrouter.infrastructure.adapters.connection_options import ConnectionOptions
from apikeyrouter.infrastructure.adapters.intent_adapter import IntentAdapter
from apikeyrouter.infrastructure.adapters.transport import Transport

BASE_URL = "https://api.anthropic.com"
#: Of requests whose client names no version.
VERSION = "2023-06-01"
#: Input is counted without what a cache had; output as it is made, whatever the cap.
ADMISSION = Admission(counts_cap=False, counts_cached=False)
#: One model of the list proves a key as well as all of them.
LAYOUT = Layout(probe=Probe("v1/models?limit=1"), models="v1/models")
_PAGE, _MOST_PAGES = 1000, 20
_NAME = re.compile(r"claude-(?P<line>[a-z]+)-(?P<major>\d)(?:-(?P<minor>\d{1,2}))?(?:[-@].*)?")
#: Lines and versions of which all minor versions draw on one pool.
_ONE_POOL = frozenset({("opus", "4"), ("sonnet", "4"), ("fable", "5")})
_DATED = re.compile(r"(?:[-@]\d{8}|-latest)$")


class AnthropicAdapter(IntentAdapter):
    """Anthropic, or anything else that speaks its dialect at another *base_url*.

    Arguments are those of `HttpAdapter`; `per_model` left out is true of Anthropic
    itself and false of an address that nothing is known of.
    """

    kind = "anthropic"
    usual_layout = LAYOUT

    def __init__(
        self,
        base_url: str = BASE_URL,
        *,
        credential_header: str = "x-api-key",
        credential_prefix: str = "",
        headers: Mapping[str, str] | None = None,
        dialects: tuple[str, ...] = ("anthropic",),
        tried_dialects: tuple[str, ...] = (),
        dialect: str = "anthropic",
        admission: Admission = ADMISSION,
        calendars: Mapping[float, Calendar] | None = None,
        per_model: bool | None = None,
        stream_options: bool = False,
        models: tuple[str, ...] | None = None,
        layout: Layout | None = None,
        connection: ConnectionOptions | None = None,
        transport: Transport | None = None,
    ) -> None:
        super().__init__(
            base_url,
            credential_header=credential_header,
            credential_prefix=credential_prefix,
            headers=headers,
            dialects=dialects,
            tried_dialects=tried_dialects,
            dialect=dialect,
            admission=admission,
            calendars=calendars,
            per_model=base_url.rstrip("/") == BASE_URL if per_model is None else per_model,
            stream_options=stream_options,
            models=models,
            layout=layout,
            connection=connection,
            transport=transport,
        )

    async def send(self, request: WireRequest, secret: str) -> WireResponse:
        """Send *request* with *secret*, and with a version where its client named none."""
        if "anthropic-version" not in request.headers:
            headers = {**request.headers, "anthropic-version": VERSION}
            request = msgspec.structs.replace(request, headers=headers)
        return await super().send(request, secret)

    def limit_group(self, model: str, endpoint: str) -> str:
        """Return whose limits are shared: some models have a pool together, counting its own."""
        if not self.per_model:
            return ""
        # Conversations of any dialect end as messages; counts and batches of them do not.
        if endpoint.startswith("messages/"):
            return endpoint
        return self.told_groups.get(model) or group_of(model)

    def normalize_chunk(self, data: bytes) -> ResponseChunk | None:
        """Turn the data of one event into a piece; `None` if it is no object."""
        try:
            event = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if not isinstance(event, dict):
            return None
        delta = event.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        usage = usage_of_event(data)
        return ResponseChunk(
            content=_text(delta.get("text")),
            finish_reason=_text(delta.get("stop_reason")) or None,
            usage=usage.told() if usage is not None else None,
            raw=event,
        )

    async def list_models(self, secret: str) -> tuple[str, ...]:
        """Ask which models *secret* may use, page by page.

        Returns:
            Their names; empty when the provider does not say.
        """
        if not self.layout.models:
            return ()
        names: list[str] = []
        after = ""
        for _ in range(_MOST_PAGES):
            page = await self._page(after, secret)
            if page is None:
                break
            names += [model.id for model in page.data]
            after = page.last_id or ""
            if not page.has_more or not after:
                break
        return tuple(dict.fromkeys(names))

    async def _page(self, after: str, secret: str) -> "_Page | None":
        more = f"&after_id={quote(after, safe='')}" if after else ""
        answer = await self.ask(f"v1/models?limit={_PAGE}{more}", secret)
        if answer is None or answer[0].status != 200:
            return None
        try:
            return _decode_page(answer[1])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


class _Model(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    data: list[_Model] = []
    has_more: bool = False
    last_id: str | None = None


_decode_page = msgspec.json.Decoder(_Page).decode


def group_of(model: str) -> str:
    """Return the group of models whose limits *model* shares at Anthropic.

    The dated names of a version are one model.
    """
    found = _NAME.fullmatch(model)
    if found is not None and (found["line"], found["major"]) in _ONE_POOL:
        return f"claude-{found['line']}-{found['major']}"
    return _DATED.sub("", model)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
