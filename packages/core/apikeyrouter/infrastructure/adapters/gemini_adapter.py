"""Google's Gemini API, or anything else that speaks its dialect."""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from apikeyrouter.dialects.gemini.conversations.signatures import without_wrapped
from apikeyrouter.dialects.gemini.names import bare
from apikeyrouter.dialects.gemini.usage_tap import usage_in
from apikeyrouter.dialects.json_values import decoded
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.interfaces.wire import WireRequest, WireResponse
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import DAY_S
from apikeyrouter.domain.models.system_response import ResponseChunk
from apikeyrouter.infrastructure.adapters.catalogue.layout import Layout, Probe
from apikeyrouter.infrastructure.adapters.catalogue.places import VERSION
from apikeyrouter.infrastructure.adapters.connection_options import ConnectionOptions
from apikeyrouter.infrastructure.adapters.intent_adapter import IntentAdapter
from apikeyrouter.infrastructure.adapters.transport import Transport

BASE_URL = "https://generativelanguage.googleapis.com"
#: Only input counts against tokens per minute.
ADMISSION = Admission(counts_cap=False, input_only=True)
#: Requests per day count from midnight in California.
CALENDARS: Mapping[float, Calendar] = {DAY_S: Calendar.DAY_PACIFIC}
USUAL_VERSION = "v1beta"
_UPLOAD = "upload/"
#: One model of the list proves a key as well as all of them.
LAYOUT = Layout(probe=Probe(f"{USUAL_VERSION}/models?pageSize=1"))
_PAGE_SIZE, _MOST_PAGES = 1000, 20


class GeminiAdapter(IntentAdapter):
    """A provider behind Gemini's dialect; the key goes out in one header and nowhere else.

    Arguments are those of `HttpAdapter`; a version at the end of the base URL is used for all
    calls, without one each client's own is.
    """

    kind = "gemini"
    usual_layout = LAYOUT

    def __init__(
        self,
        base_url: str = BASE_URL,
        *,
        credential_header: str = "x-goog-api-key",
        credential_prefix: str = "",
        headers: Mapping[str, str] | None = None,
        dialects: tuple[str, ...] = ("gemini",),
        tried_dialects: tuple[str, ...] = (),
        dialect: str = "gemini",
        admission: Admission = ADMISSION,
        calendars: Mapping[float, Calendar] = CALENDARS,
        per_model: bool = True,
        stream_options: bool = False,
        models: tuple[str, ...] | None = None,
        layout: Layout | None = None,
        connection: ConnectionOptions | None = None,
        transport: Transport | None = None,
    ) -> None:
        above, _, last = base_url.rstrip("/").rpartition("/")
        self._version = last if VERSION.fullmatch(f"{last}/") else ""
        super().__init__(
            above if self._version else base_url,
            credential_header=credential_header,
            credential_prefix=credential_prefix,
            headers=headers,
            dialects=dialects,
            tried_dialects=tried_dialects,
            dialect=dialect,
            admission=admission,
            calendars=calendars,
            per_model=per_model,
            stream_options=stream_options,
            models=models,
            layout=layout,
            connection=connection,
            transport=transport,
        )

    async def send(self, request: WireRequest, secret: str) -> WireResponse:
        """Send *request* with *secret*, without what other providers have signed."""
        body = without_wrapped(request.body)
        if body is not request.body:
            request = msgspec.structs.replace(request, body=body)
        return await super().send(request, secret)

    def limit_group(self, model: str, endpoint: str) -> str:
        """Return whose limits are shared: a model's own, but to have tokens counted is apart."""
        group = super().limit_group(model, endpoint)
        return f"{group}:{endpoint}" if endpoint == "countTokens" else group

    def normalize_chunk(self, data: bytes) -> ResponseChunk | None:
        """Turn the data of one event into a piece; `None` for what is no object."""
        piece = decoded(data)
        if not piece:
            return None
        response = self.normalize_response(piece)
        usage = usage_in(data)
        return ResponseChunk(
            content=response.content or "",
            finish_reason=response.metadata.finish_reason,
            usage=usage.told() if usage is not None else None,
            tool_calls=response.tool_calls,
            raw=piece,
        )

    async def list_models(self, secret: str) -> tuple[str, ...]:
        """Ask which models *secret* may use, page by page.

        Returns:
            Their names without `models/`; empty when the provider does not say.
        """
        names: list[str] = []
        token = ""
        for _ in range(_MOST_PAGES):
            more = f"&pageToken={quote(token, safe='')}" if token else ""
            page = await self._page(f"models?pageSize={_PAGE_SIZE}{more}", secret)
            if page is None:
                break
            names += [bare(model.name) for model in page.models]
            token = page.next_page_token
            if not token:
                break
        return tuple(dict.fromkeys(names))

    async def _page(self, path: str, secret: str) -> "_Page | None":
        answer = await self.ask(path, secret)
        if answer is None or answer[0].status != 200:
            return None
        try:
            return _decode_page(answer[1])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _url_of(self, request: WireRequest) -> str:
        # Files go up to a place beside all versions.
        path = request.path.removeprefix(_UPLOAD)
        begin = _UPLOAD if path != request.path else ""
        version = VERSION.match(path)
        rest = path[version.end() :] if version else path
        asked = self._version or (version[0][:-1] if version else USUAL_VERSION)
        return super()._url_of(msgspec.structs.replace(request, path=f"{begin}{asked}/{rest}"))


class _Model(msgspec.Struct):
    name: str


class _Page(msgspec.Struct, rename="camel"):
    models: list[_Model] = []
    next_page_token: str = ""


_decode_page = msgspec.json.Decoder(_Page).decode
