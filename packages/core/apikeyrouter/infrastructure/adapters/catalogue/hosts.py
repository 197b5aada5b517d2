"""Those who serve models that others made, on machines or through accounts of their own."""

from collections.abc import Mapping

from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import DAY_S
from apikeyrouter.infrastructure.adapters.catalogue.layout import MESSAGES_ALONE, Layout, Probe
from apikeyrouter.infrastructure.adapters.catalogue.provider_row import (
    ACTUAL,
    ANTHROPIC,
    CHAT,
    RESPONSES,
    ProviderRow,
)

HOSTS: Mapping[str, ProviderRow] = {
    "groq": ProviderRow(
        "https://api.groq.com/openai/v1", dialect="groq",
        admission=Admission(counts_cached=False), dialects=(CHAT, RESPONSES),
    ),
    "together": ProviderRow("https://api.together.ai/v1", dialect="together", admission=ACTUAL),
    "fireworks": ProviderRow(
        "https://api.fireworks.ai/inference/v1", dialect="fireworks", admission=ACTUAL,
        dialects=(CHAT, RESPONSES, ANTHROPIC), layout=Layout(lacks=MESSAGES_ALONE),
    ),
    "cerebras": ProviderRow("https://api.cerebras.ai/v1", dialect="cerebras"),
    "nebius": ProviderRow("https://api.tokenfactory.nebius.com/v1", dialect="generic"),
    # Lists its models to anybody, so nothing free proves a key (not documented; seen in use).
    "sambanova": ProviderRow(
        "https://api.sambanova.ai/v1", dialect="sambanova", layout=Layout(probe=None)
    ),
    # The same is true of this one's list.
    "nvidia": ProviderRow(
        "https://integrate.api.nvidia.com/v1", dialect="generic", admission=ACTUAL,
        per_model=False, layout=Layout(probe=None),
    ),
    # Its list of models is public, and so is not what proves a key.
    "openrouter": ProviderRow(
        "https://openrouter.ai/api/v1", dialect="openrouter", admission=ACTUAL, per_model=False,
        calendars={DAY_S: Calendar.DAY_UTC}, dialects=(CHAT, RESPONSES, ANTHROPIC),
        # What costs nothing is limited for the account together, and apart from the rest.
        layout=Layout(
            probe=Probe("key"), balance="key", admin="openrouter", groups={"*:free": "free"},
            lacks=MESSAGES_ALONE,
        ),
    ),
    # Its list of models is public; what tells whose a token is has another host.
    "huggingface": ProviderRow(
        "https://router.huggingface.co/v1", dialect="generic", admission=ACTUAL,
        per_model=False, dialects=(CHAT, RESPONSES),
        layout=Layout(probe=Probe("https://huggingface.co/api/whoami-v2")),
    ),
    "github-models": ProviderRow(
        "https://models.github.ai/inference", dialect="generic", admission=ACTUAL,
        layout=Layout(
            probe=Probe("https://api.github.com/rate_limit"), models="../catalog/models"
        ),
    ),
    "vercel": ProviderRow(
        "https://ai-gateway.vercel.sh/v1", dialect="generic", admission=ACTUAL, per_model=False,
        dialects=(CHAT, RESPONSES, ANTHROPIC),
        layout=Layout(probe=Probe("credits"), balance="credits", lacks=MESSAGES_ALONE),
    ),
}  # fmt: skip
