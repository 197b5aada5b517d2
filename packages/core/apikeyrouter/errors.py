"""One family of errors.

    ApiKeyRouterError
    ├── ConfigurationError          a file, a setting or an argument is wrong
    ├── EncryptionError             a secret cannot be sealed or opened
    ├── StateStoreError             a record cannot be kept or read
    │   └── StateConflictError      somebody else has changed it meanwhile
    ├── KeyRegistrationError        this material cannot become a key
    ├── KeyNotFoundError            no key has this id
    ├── InvalidStateTransitionError a key may not move from here to there
    ├── NoEligibleKeysError         nobody can serve this request (in time)
    │   ├── UnknownModelError       nobody serves this model at all
    │   ├── PinnedKeyError          the key that alone could serve this request cannot
    │   └── OwnLimitError           a limit of the caller's own is used up
    │       └── BudgetExceededError a hard budget refuses the spend
    └── BudgetNotFoundError         no budget has this id

`SystemError` (domain/models/system_error.py) belongs to the family too; it is
defined beside its categories. Messages say what failed, which one, and what to
do; further data are attributes.
"""


class ApiKeyRouterError(Exception):
    """Everything this library raises on purpose."""


class ConfigurationError(ApiKeyRouterError):
    """Something that a user wrote is wrong; the message names file, line and field."""


class EncryptionError(ApiKeyRouterError):
    """A secret cannot be sealed or opened with the key at hand."""


class StateStoreError(ApiKeyRouterError):
    """A record cannot be kept or read."""


class StateConflictError(StateStoreError):
    """Somebody else has changed the record since it was read; nothing was written."""

    @classmethod
    def of_key(cls, key_id: str) -> "StateConflictError":
        """Return the error for one key."""
        return cls(
            f"key '{key_id}' was changed by another process meanwhile; read it again, and order "
            "again what still holds"
        )


class UnreadableRecordError(StateStoreError):
    """A record makes no sense here: another version may have written it, or somebody's hand."""


class KeyRegistrationError(ApiKeyRouterError):
    """This material cannot become a key."""


class KeyNotFoundError(ApiKeyRouterError):
    """No key has this id."""


class InvalidStateTransitionError(ApiKeyRouterError):
    """A key may not move from its state to the one asked for."""


class NoEligibleKeysError(ApiKeyRouterError):
    """Nobody can serve this request now, nor before its deadline.

    Attributes:
        retry_after: Seconds until the soonest candidate has room; `None` if
            waiting does not help.
        request_id: The request that was refused; its decision record says why.
        cause: The failure class that keeps every candidate from it, such as
            `model_unavailable` or `quota_billing`; empty when there are several or none.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        request_id: str = "",
        cause: str = "",
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.request_id = request_id
        self.cause = cause


class UnknownModelError(NoEligibleKeysError):
    """No key serves this model.

    Attributes:
        model: What was asked for.
        nearest: Up to three known names that look like it.
    """

    def __init__(self, model: str, nearest: tuple[str, ...] = (), *, endpoint: str = "") -> None:
        """Say that nobody serves *model*, or at *endpoint* if one is named."""
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        where = f" at {endpoint}" if endpoint else ""
        what = f"model '{model}'{where}" if model else endpoint
        super().__init__(f"no key serves {what}{hint}")
        self.model = model
        self.nearest = nearest


class PinnedKeyError(NoEligibleKeysError):
    """What is asked for belongs to a key that cannot be used, and to no other one.

    Attributes:
        key_id: The key's id.
    """

    def __init__(self, key_id: str, why: str) -> None:
        """Say what became of the key."""
        super().__init__(f"what is asked for belongs to a key that cannot be used: {why}")
        self.key_id = key_id


class OwnLimitError(NoEligibleKeysError):
    """A limit of the caller's own, such as its client's, is used up; no key could help."""


class BudgetExceededError(OwnLimitError):
    """A hard budget refuses the spend."""


class BudgetNotFoundError(ApiKeyRouterError):
    """No budget has this id."""
