"""Which administration a provider's layout names."""

from collections.abc import Mapping

from apikeyrouter.infrastructure.adapters.admin import (
    anthropic_admin,
    openai_admin,
    openrouter_admin,
)
from apikeyrouter.infrastructure.adapters.admin.report import AdminApi

ADMIN_APIS: Mapping[str, AdminApi] = {
    "anthropic": anthropic_admin.report,
    "openai": openai_admin.report,
    "openrouter": openrouter_admin.report,
}
