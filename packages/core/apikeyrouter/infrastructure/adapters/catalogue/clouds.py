"""Clouds, whose addresses name a resource, a region or a project of the operator's own."""

from collections.abc import Mapping

from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.infrastructure.adapters import anthropic_adapter
from apikeyrouter.infrastructure.adapters.catalogue.layout import (
    MESSAGES_ALONE,
    MESSAGES_AND_COUNTS,
    Layout,
    Surface,
)
from apikeyrouter.infrastructure.adapters.catalogue.provider_row import (
    ANTHROPIC,
    CHAT,
    GEMINI,
    RESPONSES,
    ProviderRow,
)

AZURE = ProviderRow(
    "https://{resource}.openai.azure.com/openai/v1", kind="azure", dialect="azure",
    credential_header="api-key", credential_prefix="",
    # The whole cap is charged, and never given back.
    admission=Admission(counts_cap=True, settles=False), dialects=(CHAT, RESPONSES),
    layout=Layout(
        # Claude's deployments, at resources under services.ai.azure.com.
        surfaces={ANTHROPIC: Surface("../../anthropic", "x-api-key")},
        # What is listed is what could be deployed, not what is.
        models="",
    ),
)  # fmt: skip

_PROJECT = "https://{location}-aiplatform.googleapis.com/v1/projects/{project}/locations/{location}"
VERTEX = ProviderRow(
    f"{_PROJECT}/publishers/anthropic", kind="vertex", dialect="none", dialects=(ANTHROPIC,),
    stream_options=False, admission=anthropic_adapter.ADMISSION, models=("claude-*",),
    layout=Layout(probe=None, models="", lacks=MESSAGES_AND_COUNTS),
)  # fmt: skip

CLOUDS: Mapping[str, ProviderRow] = {
    "azure": AZURE,
    # Either endpoint takes a Bedrock API key; they do not serve the same models.
    "bedrock": ProviderRow(
        "https://bedrock-runtime.{region}.amazonaws.com/openai/v1", dialect="bedrock",
        dialects=(CHAT, RESPONSES), layout=Layout(probe=None, models=""),
    ),
    "bedrock-mantle": ProviderRow(
        "https://bedrock-mantle.{region}.api.aws/v1", dialect="bedrock",
        dialects=(CHAT, RESPONSES, ANTHROPIC),
        layout=Layout(surfaces={ANTHROPIC: Surface("../anthropic")}, lacks=MESSAGES_ALONE),
    ),
    # Both take an access token, which is good for an hour.
    "vertex": ProviderRow(
        f"{_PROJECT}/endpoints/openapi", dialect="gemini", dialects=(CHAT, GEMINI),
        layout=Layout(
            surfaces={GEMINI: Surface("../../publishers/google", is_versioned=True)},
            probe=None, models="",
        ),
    ),
    "vertex-anthropic": VERTEX,
}  # fmt: skip
