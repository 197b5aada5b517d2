"""What is where at a provider: its dialects, its list of models, and what proves a key.

All places are told from the base URL, so that they move with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True, frozen=True)
class Surface:
    """Where one dialect is spoken, and with which credential, if not as the others are.

    Attributes:
        path: From the base URL, such as `../anthropic`; empty for the base URL itself.
        credential_header: The header that carries the key; `None` for the provider's usual one.
        credential_prefix: What stands before the key in that header.
        is_versioned: The path has a version of its own, so that none of a request is added.
    """

    path: str = ""
    credential_header: str | None = None
    credential_prefix: str = ""
    is_versioned: bool = False


@dataclass(slots=True, frozen=True)
class Probe:
    """A call that costs nothing and proves a key, but neither quota nor access to models.

    Attributes:
        path: From the base URL; a whole URL where another host is asked.
        denials: Members of an answer that says it is fine, with the values that deny the key.
    """

    path: str
    method: str = "GET"
    denials: Mapping[str, bool] = field(default_factory=dict)


#: What most providers offer: their list of models depends on who asks.
MODELS = Probe("models")
#: Who speaks like Anthropic seldom has more of it than messages: counts are estimated here then.
MESSAGES_ALONE = ("messages/*",)
MESSAGES_AND_COUNTS = ("messages/batches*",)


@dataclass(slots=True, frozen=True)
class Layout:
    """What is where at a provider.

    Attributes:
        surfaces: Dialects by name that are not spoken at the base URL with the usual credential.
        probe: `None` where no call proves a key and costs nothing.
        models: Where the list of models is; empty where there is none.
        balance: Where a key may ask what is left of its money; empty if nowhere.
        lacks: Patterns of endpoints that it has not, of dialects that it speaks.
        admin: What tells an administrator of accounts and limits, a name of `ADMIN_APIS`.
        groups: Pattern of models -> the group of those that it admits, which share limits.
        api_version: Of paths that name the model and this version, as Azure's older ones do.
    """

    surfaces: Mapping[str, Surface] = field(default_factory=dict)
    probe: Probe | None = MODELS
    models: str = "models"
    balance: str = ""
    lacks: tuple[str, ...] = ()
    admin: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    api_version: str = ""
