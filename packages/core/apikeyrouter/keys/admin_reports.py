"""What providers tell their administrators: asked at the start, and every quarter of an hour.

Accounts, limits and groups of models come from there before any traffic has shown them. What
answers tell is newer and stays; a report that fails changes nothing, and is told once.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from apikeyrouter.domain.accounts.registry import ALL_MODELS
from apikeyrouter.domain.components.quota_awareness_engine import QuotaAwarenessEngine
from apikeyrouter.domain.limits.observation import ObservedLimit, Provenance
from apikeyrouter.domain.models.api_key import USABLE
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.domain.routing.provider_entry import ProviderEntry
from apikeyrouter.domain.routing.route_table import RouteTable
from apikeyrouter.infrastructure.adapters.admin.catalogue import ADMIN_APIS
from apikeyrouter.infrastructure.adapters.admin.report import (
    AccountReport,
    AdminApiError,
    AdminReport,
)
from apikeyrouter.infrastructure.adapters.http_adapter import HttpAdapter

_ASKED_AGAIN_S = 900.0
#: A report of many pages and keys takes no longer than this.
_PATIENCE_S = 300.0


class AdminReports:
    """Keeps what administrators are told, and puts it where decisions look.

    Args:
        secrets: The administrator's secret by provider.
        log: Told of failures, as `ObservabilityManager.log` is.
    """

    def __init__(
        self,
        routes: RouteTable,
        awareness: QuotaAwarenessEngine,
        *,
        clock: Callable[[], float],
        secrets: Mapping[str, str],
        log: Callable[..., Any],
    ) -> None:
        self._routes = routes
        self._awareness = awareness
        self._clock = clock
        self._log = log
        self._report_of: dict[str, AccountReport] = {}
        self._failing: set[str] = set()
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.go_by(secrets)

    def go_by(self, secrets: Mapping[str, str]) -> None:
        """Ask with these secrets from the next `start` on."""
        self._secrets = secrets
        if secrets:
            self._awareness.book.on_found = self._teach

    def start(self) -> None:
        """Ask all providers that have an administrator, in the background; and again later."""
        if not self._secrets:
            return
        loop = asyncio.get_running_loop()
        self._disarm()
        self._timer = loop.call_later(_ASKED_AGAIN_S, self.start)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self.ask_all())

    async def ask_all(self) -> None:
        """Ask all providers once, and take in what they tell."""
        await asyncio.gather(*map(self._ask, self._secrets))

    async def stop(self) -> None:
        """Stop asking."""
        self._disarm()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def _ask(self, provider_id: str) -> None:
        entry = self._routes.providers.get(provider_id)
        if entry is None or not isinstance(entry.adapter, HttpAdapter):
            return
        ask = ADMIN_APIS[entry.adapter.layout.admin]
        secrets = {
            slot.id: slot.secret for slot in entry.slots.values() if slot.record.state in USABLE
        }
        try:
            async with asyncio.timeout(_PATIENCE_S):
                report = await ask(entry.adapter, self._secrets[provider_id], secrets)
        except (AdminApiError, TimeoutError) as error:
            self._note_failure(provider_id, str(error) or f"no report within {_PATIENCE_S:.0f} s")
            return
        self._failing.discard(provider_id)
        self._take_in(entry, entry.adapter, report)

    def _note_failure(self, provider_id: str, error: str) -> None:
        if provider_id not in self._failing:
            self._failing.add(provider_id)
            self._log(
                "warning", "the admin API told nothing; limits are learned from answers alone",
                provider=provider_id, error=error,
            )  # fmt: skip

    def _take_in(self, entry: ProviderEntry, adapter: HttpAdapter, report: AdminReport) -> None:
        adapter.told_groups = report.groups
        for account in report.accounts:
            slots = [entry.slots[key] for key in account.key_ids if key in entry.slots]
            self._report_of |= {slot.id: account for slot in slots}
            for slot in slots:
                # Answers may name it otherwise, and are not contradicted.
                if account.account and not slot.account:
                    self._awareness.note_account(slot, account.account)
            for slot in slots:
                for scope in self._awareness.book.scopes_of(slot):
                    self._teach(scope)

    def _teach(self, scope: QuotaScope) -> None:
        """Tell *scope* its limits, as far as no answer has told them."""
        slots = self._awareness.book.slots_of(scope)
        report = next(filter(None, (self._report_of.get(slot.id) for slot in slots)), None)
        if report is None:
            return
        group = "" if scope.group == ALL_MODELS else scope.group
        news = tuple(limit for limit in report.limits.get(group, ()) if not _is_told(scope, limit))
        if news:
            self._awareness.learn(scope, news, self._clock())


def _is_told(scope: QuotaScope, limit: ObservedLimit) -> bool:
    return any(
        window.dimension is limit.dimension
        and window.period_s == limit.period_s
        and window.label == limit.label
        and window.provenance in (Provenance.HEADER, Provenance.ERROR_BODY)
        for window in scope.account.windows
    )
