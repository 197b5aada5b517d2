"""OpenAI's administration: keys and limits by project. A project has its own limits, by model."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from apikeyrouter.dialects.json_values import number_in, text_in
from apikeyrouter.domain.limits.observation import (
    DAY_S,
    MINUTE_S,
    Dimension,
    ObservedLimit,
    Provenance,
)
from apikeyrouter.infrastructure.adapters.admin.report import (
    AccountReport,
    AdminReport,
    items,
    keys_like,
)
from apikeyrouter.infrastructure.adapters.http_adapter import HttpAdapter

_D = Dimension
_LIMITS: Mapping[str, tuple[Dimension, float]] = {
    "max_requests_per_1_minute": (_D.REQUESTS, MINUTE_S),
    "max_tokens_per_1_minute": (_D.TOKENS, MINUTE_S),
    "max_images_per_1_minute": (_D.IMAGES, MINUTE_S),
    "max_requests_per_1_day": (_D.REQUESTS, DAY_S),
}
_ROOT = "organization/projects"


async def report(adapter: HttpAdapter, admin: str, secrets: Mapping[str, str]) -> AdminReport:
    """Ask which project *secrets* are of, and what is allowed there."""
    accounts = []
    projects = [
        text_in(project.get("id"))
        async for project in items(adapter, f"{_ROOT}?limit=100", admin, cursor="after")
    ]
    for project in filter(None, projects):
        where = f"{_ROOT}/{quote(project, safe='')}"
        ids: list[str] = []
        async for key in items(
            adapter, f"{where}/api_keys?limit=100&owner_project_access=any", admin,
            cursor="after",
        ):  # fmt: skip
            ids += keys_like(text_in(key.get("redacted_value")), secrets)
        if not ids:
            continue
        limits = {
            adapter.limit_group(model, "chat/completions"): _limits_in(entry)
            async for entry in items(
                adapter, f"{where}/rate_limits?limit=100", admin, cursor="after"
            )
            if adapter.per_model and (model := text_in(entry.get("model")))
        }
        accounts.append(AccountReport(project, tuple(dict.fromkeys(ids)), limits))
    return AdminReport(tuple(accounts))


def _limits_in(entry: dict[str, Any]) -> tuple[ObservedLimit, ...]:
    return tuple(
        ObservedLimit(dimension, float(value), period_s=period_s, source=Provenance.ADMIN_API)
        for name, (dimension, period_s) in _LIMITS.items()
        # Models without a limit of a kind are told with none at all.
        if (value := number_in(entry.get(name))) is not None and value > 0
    )
