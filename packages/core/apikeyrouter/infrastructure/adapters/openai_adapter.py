"""Providers that speak OpenAI's chat dialect."""

from collections.abc import Mapping

import msgspec

from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.infrastructure.adapters.catalogue.layout import Layout
from apikeyrouter.infrastructure.adapters.connection_options import ConnectionOptions
from apikeyrouter.infrastructure.adapters.intent_adapter import IntentAdapter
from apikeyrouter.infrastructure.adapters.transport import Transport

BASE_URL = "https://api.openai.com/v1"
#: What OpenAI speaks.
DIALECTS = ("openai", "openai-responses")
#: OpenAI charges the larger of the output cap and its own estimate of the input.
ADMISSION = Admission(counts_cap=True, larger_of=True)


class OpenAIAdapter(IntentAdapter):
    """OpenAI, or anything else that speaks its dialect at another *base_url*.

    Arguments are those of `HttpAdapter`; `per_model` left out is true of OpenAI
    itself and false of an address that nothing is known of. Without `dialects`
    another address is tried for whether it speaks responses.
    """

    kind = "openai"

    def __init__(
        self,
        base_url: str = BASE_URL,
        *,
        credential_header: str = "Authorization",
        credential_prefix: str = "Bearer ",
        headers: Mapping[str, str] | None = None,
        dialects: tuple[str, ...] | None = None,
        tried_dialects: tuple[str, ...] = (),
        dialect: str = "openai",
        admission: Admission = ADMISSION,
        calendars: Mapping[float, Calendar] | None = None,
        per_model: bool | None = None,
        stream_options: bool = True,
        models: tuple[str, ...] | None = None,
        layout: Layout | None = None,
        connection: ConnectionOptions | None = None,
        transport: Transport | None = None,
    ) -> None:
        is_openai = base_url.rstrip("/") == BASE_URL
        spoken = DIALECTS if is_openai else DIALECTS[:1]
        super().__init__(
            base_url,
            credential_header=credential_header,
            credential_prefix=credential_prefix,
            headers=headers,
            dialects=spoken if dialects is None else dialects,
            tried_dialects=DIALECTS if dialects is None else tried_dialects,
            dialect=dialect,
            admission=admission,
            calendars=calendars,
            per_model=is_openai if per_model is None else per_model,
            stream_options=stream_options,
            models=models,
            layout=layout,
            connection=connection,
            transport=transport,
        )

    async def list_models(self, secret: str) -> tuple[str, ...]:
        """Ask which models *secret* may use.

        Returns:
            Their names; empty when the provider does not say.
        """
        if not self.layout.models:
            return ()
        answer = await self.ask(self.layout.models, secret)
        if answer is None or answer[0].status != 200:
            return ()
        try:
            listed = _decode_models(answer[1])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ()
        models = listed if isinstance(listed, list) else listed.data
        return tuple(model.id for model in models)


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


#: Some providers leave out the object around the list.
_decode_models = msgspec.json.Decoder(_Models | list[_Model]).decode
