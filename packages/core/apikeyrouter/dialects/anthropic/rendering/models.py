"""What Anthropic's models take and what they refuse, told by the version in their names.

Facts of 2026-11. A name without a version is taken for a new model if it is one of Anthropic's,
else for a model of somebody who followed the dialect as it began.
"""

import re

#: When the client gave no cap, which the dialect demands: what any model of today may make.
USUAL_MAX_TOKENS = 64_000
#: The same of models that may make less: all below the version.
_LESS_BELOW = (((3, 5), 4_096), ((3, 7), 8_192), ((4, 5), 32_000))
#: The same of models that are not Anthropic's.
FOREIGN_MAX_TOKENS = 8_192
_VERSION = re.compile(r"(?:^|[^a-z])claude-(?:[a-z]+-)?(\d)(?:[-.](\d{1,2}))?(?!\d)")
_NEWEST, _OLDEST = (99, 0), (3, 0)


def version_of(model: str) -> tuple[int, int]:
    """Return the version that the name of a model tells."""
    name = model.lower()
    found = _VERSION.search(name)
    if found is not None:
        return int(found[1]), int(found[2] or 0)
    return _NEWEST if "claude" in name else _OLDEST


def usual_max_tokens(model: str) -> int:
    """Return the cap of requests that have none."""
    if "claude" not in model.lower():
        return FOREIGN_MAX_TOKENS
    version = version_of(model)
    return next((most for below, most in _LESS_BELOW if version < below), USUAL_MAX_TOKENS)


def thinks_by_itself(model: str) -> bool:
    """Tell whether it decides how much it thinks, guided by an effort."""
    return version_of(model) >= (4, 6)


def takes_budget(model: str) -> bool:
    """Tell whether it takes a number of tokens to think, and may be told not to think."""
    return version_of(model) < (4, 7)


def takes_sampling(model: str) -> bool:
    """Tell whether temperature and the like can be set."""
    return version_of(model) < (4, 7)


def takes_two_samplings(model: str) -> bool:
    """Tell whether temperature and top_p can be set together."""
    return version_of(model) < (4, 1)


def takes_system_turns(model: str) -> bool:
    """Tell whether there may be instructions in the middle of a conversation."""
    return version_of(model) >= (4, 8)
