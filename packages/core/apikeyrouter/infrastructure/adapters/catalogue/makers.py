"""Those who make models and serve them themselves."""

from collections.abc import Mapping

from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import MONTH_S
from apikeyrouter.infrastructure.adapters import anthropic_adapter, gemini_adapter, openai_adapter
from apikeyrouter.infrastructure.adapters.catalogue.layout import (
    MESSAGES_ALONE,
    MODELS,
    Layout,
    Probe,
    Surface,
)
from apikeyrouter.infrastructure.adapters.catalogue.provider_row import (
    ACTUAL,
    ANTHROPIC,
    CHAT,
    GEMINI,
    RESPONSES,
    ProviderRow,
)

_OPENAI_MODELS = (
    "gpt-*", "o1*", "o3*", "o4*", "chatgpt-*", "text-embedding-*", "davinci-*", "babbage-*",
    "ft:*", "omni-moderation-*", "text-moderation-*", "tts-*", "whisper-*", "dall-e-*",
    "codex-*", "computer-use-*", "sora-*",
)  # fmt: skip

_GOOGLES_MODELS = (
    "gemini-*", "gemma-*", "learnlm-*", "embedding-0*", "text-embedding-0*", "aqa", "imagen-*",
    "veo-*", "lyria-*", "nano-banana*", "deep-research-*", "tunedModels/*",
)  # fmt: skip

MAKERS: Mapping[str, ProviderRow] = {
    # Its restricted keys may lack the right to list models: such a 403 denies no key.
    "openai": ProviderRow(
        openai_adapter.BASE_URL, admission=openai_adapter.ADMISSION, models=_OPENAI_MODELS,
        dialects=openai_adapter.DIALECTS, layout=Layout(admin="openai"),
    ),
    "anthropic": ProviderRow(
        anthropic_adapter.BASE_URL, kind="anthropic", dialects=(ANTHROPIC,), dialect="anthropic",
        credential_header="x-api-key", credential_prefix="", stream_options=False,
        admission=anthropic_adapter.ADMISSION, models=("claude-*",),
        layout=Layout(
            # Its layer for OpenAI's clients is less than its own dialect: used if asked for.
            surfaces={CHAT: Surface("v1", "Authorization", "Bearer ")},
            probe=anthropic_adapter.LAYOUT.probe, models=anthropic_adapter.LAYOUT.models,
            admin="anthropic",
        ),
    ),
    "gemini": ProviderRow(
        gemini_adapter.BASE_URL, kind="gemini", dialects=(GEMINI,), dialect="gemini",
        credential_header="x-goog-api-key", credential_prefix="", stream_options=False,
        admission=gemini_adapter.ADMISSION, calendars=gemini_adapter.CALENDARS,
        models=_GOOGLES_MODELS,
        layout=Layout(
            # Its layer for OpenAI's clients is less than its own dialect: used if asked for.
            surfaces={CHAT: Surface("v1beta/openai", "Authorization", "Bearer ")},
            probe=gemini_adapter.LAYOUT.probe, models=gemini_adapter.LAYOUT.models,
        ),
    ),
    "mistral": ProviderRow(
        "https://api.mistral.ai/v1", dialect="mistral", stream_options=False,
        calendars={MONTH_S: Calendar.MONTH_UTC},
    ),
    "deepseek": ProviderRow(
        "https://api.deepseek.com/v1", dialect="none", admission=ACTUAL, models=("deepseek-*",),
        dialects=(CHAT, ANTHROPIC),
        layout=Layout(
            surfaces={ANTHROPIC: Surface("../anthropic")}, probe=MODELS,
            balance="../user/balance", lacks=MESSAGES_ALONE,
        ),
    ),
    "xai": ProviderRow(
        "https://api.x.ai/v1", admission=ACTUAL, models=("grok-*",), dialects=(CHAT, RESPONSES),
        layout=Layout(
            probe=Probe(
                "api-key",
                denials={"api_key_blocked": True, "api_key_disabled": True, "team_blocked": True},
            )
        ),
    ),
    # Chats ended in September 2026; what is left is spoken like responses. No call is free.
    "perplexity": ProviderRow(
        "https://api.perplexity.ai/v1", dialect="none", admission=ACTUAL, stream_options=False,
        models=("perplexity/*",), dialects=(RESPONSES,),
        layout=Layout(probe=None, models=""),
    ),
    # Its own API is another; chats and embeddings go through its layer for OpenAI's clients.
    "cohere": ProviderRow(
        "https://api.cohere.ai/compatibility/v1", dialect="cohere", admission=ACTUAL,
        per_model=False, models=("command*", "c4ai-*", "embed-*"),
        layout=Layout(
            probe=Probe("../../v1/check-api-key", "POST", {"valid": False}), models=""
        ),
    ),
    "moonshot": ProviderRow(
        "https://api.moonshot.ai/v1", dialect="generic", per_model=False,
        models=("kimi-*", "moonshot-*"), dialects=(CHAT, RESPONSES, ANTHROPIC),
        layout=Layout(
            surfaces={ANTHROPIC: Surface("../anthropic")}, balance="users/me/balance",
            lacks=MESSAGES_ALONE,
        ),
    ),
    # Limits are calls at once, by model; whether its list needs a key is not documented.
    "zai": ProviderRow(
        "https://api.z.ai/api/paas/v4", dialect="generic", admission=ACTUAL, models=("glm-*",),
        dialects=(CHAT, ANTHROPIC),
        layout=Layout(
            surfaces={ANTHROPIC: Surface("../../anthropic")}, probe=None, lacks=MESSAGES_ALONE
        ),
    ),
    # Of the international edition; other regions have other hosts with the same paths.
    "qwen": ProviderRow(
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", dialect="qwen",
        admission=ACTUAL, models=("qwen*", "qwq*", "qvq*", "text-embedding-v*"),
        dialects=(CHAT, RESPONSES, ANTHROPIC),
        layout=Layout(
            surfaces={ANTHROPIC: Surface("../../apps/anthropic")}, lacks=MESSAGES_ALONE
        ),
    ),
    "minimax": ProviderRow(
        "https://api.minimax.io/v1", dialect="generic", admission=ACTUAL,
        models=("MiniMax-*",), dialects=(CHAT, RESPONSES, ANTHROPIC),
        layout=Layout(surfaces={ANTHROPIC: Surface("../anthropic")}, lacks=MESSAGES_ALONE),
    ),
}  # fmt: skip
