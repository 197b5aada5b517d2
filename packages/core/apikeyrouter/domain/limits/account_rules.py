"""What operators have said of accounts: whose keys are together, and limits that hold.

It goes before what is learned and what keys declare. Of a key that a configuration declares with
a scope, the configuration's word counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from apikeyrouter.domain.limits.declared_limits import check_limits

#: A provider's account, and its group of models.
Owner = tuple[str, str]


@dataclass(slots=True, frozen=True)
class ProviderRules:
    """What holds at one provider.

    Attributes:
        members: Key -> the account that it draws on; `None` for one of its own that nobody joins.
        limits: Account and group of models -> its limits (`rpm`, `tpm`, …).
        topped_up: Account -> when its operator last said that there is money on it.
        revision: Grows with every change; -1 before the first.
    """

    members: Mapping[str, str | None] = field(default_factory=dict)
    limits: Mapping[Owner, Mapping[str, float]] = field(default_factory=dict)
    topped_up: Mapping[str, float] = field(default_factory=dict)
    revision: int = -1

    def data(self) -> dict[str, Any]:
        """Return them as plain data."""
        limits = [
            {"account": account, "group": group, "limits": dict(limits)}
            for (account, group), limits in self.limits.items()
            if limits
        ]
        topped_up = dict(self.topped_up)
        return {"members": dict(self.members), "limits": limits, "topped_up": topped_up}

    @classmethod
    def of(cls, data: Mapping[str, Any], revision: int) -> "ProviderRules":
        """Read what `data` returned.

        Raises:
            ConfigurationError, LookupError, TypeError, ValueError: It is none of this version.
        """
        members = {
            str(key): None if account is None else str(account)
            for key, account in dict(data["members"]).items()
        }
        limits = {}
        for row in data["limits"]:
            check_limits(row["limits"])
            found = {str(name): float(most) for name, most in row["limits"].items()}
            limits[str(row["account"]), str(row["group"])] = found
        topped_up = {str(account): float(at) for account, at in dict(data["topped_up"]).items()}
        return cls(members, limits, topped_up, revision)


class AccountRules:
    """The rules of all providers."""

    def __init__(self) -> None:
        self._of: dict[str, ProviderRules] = {}

    def of(self, provider_id: str) -> ProviderRules:
        """Return what holds at one provider."""
        return self._of.get(provider_id, _NONE)

    def put(self, provider_id: str, rules: ProviderRules) -> None:
        """Let other rules hold there."""
        self._of[provider_id] = rules

    def limits_of(self, provider_id: str, account: str, group: str) -> Mapping[str, float]:
        """Return the limits that hold for one scope."""
        rules = self._of.get(provider_id)
        return {} if rules is None else rules.limits.get((account, group), {})


_NONE = ProviderRules()
