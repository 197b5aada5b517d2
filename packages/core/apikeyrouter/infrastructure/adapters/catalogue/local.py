"""Servers that people run themselves. Most ask for no key: any text will do as one."""

from collections.abc import Mapping

from apikeyrouter.infrastructure.adapters.catalogue.layout import (
    MESSAGES_ALONE,
    MESSAGES_AND_COUNTS,
    Layout,
)
from apikeyrouter.infrastructure.adapters.catalogue.provider_row import (
    ACTUAL,
    ANTHROPIC,
    CHAT,
    RESPONSES,
    ProviderRow,
)

#: Where a list of models is public, it proves no key.
_PUBLIC = Layout(probe=None, lacks=MESSAGES_AND_COUNTS)

LOCAL: Mapping[str, ProviderRow] = {
    "ollama": ProviderRow(
        "http://127.0.0.1:11434/v1", dialect="none", admission=ACTUAL, per_model=False,
        dialects=(CHAT, RESPONSES, ANTHROPIC), needs_key=False,
        layout=Layout(probe=None, lacks=MESSAGES_ALONE),
    ),
    # Its usual port is this router's own, so that its address has to be said.
    "vllm": ProviderRow(
        "http://{host}:8000/v1", dialect="none", admission=ACTUAL, per_model=False,
        dialects=(CHAT, RESPONSES, ANTHROPIC), needs_key=False,
        layout=Layout(lacks=MESSAGES_AND_COUNTS),
    ),
    "llama-cpp": ProviderRow(
        "http://127.0.0.1:8080/v1", dialect="none", admission=ACTUAL, per_model=False,
        dialects=(CHAT, ANTHROPIC), tried_dialects=(RESPONSES,), layout=_PUBLIC, needs_key=False,
    ),
    "lm-studio": ProviderRow(
        "http://127.0.0.1:1234/v1", dialect="none", admission=ACTUAL, per_model=False,
        dialects=(CHAT, RESPONSES, ANTHROPIC), needs_key=False,
        layout=Layout(lacks=MESSAGES_ALONE),
    ),
}  # fmt: skip
