"""Which models a key's patterns admit."""

import pytest

from apikeyrouter.domain.key_slot import matches

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("patterns", "model", "admitted"),
    [
        (None, "gpt-4o", True),
        ((), "gpt-4o", False),
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o",), "GPT-4o", False),
        (("gpt-4.1",), "gpt-4x1", False),
        (("gpt-4o", "o3*"), "o3-mini", True),
        (("gpt-4o", "o3*"), "xo3-mini", False),
        (("o?", "claude-[ab]*"), "o1", True),
        (("o?", "claude-[ab]*"), "claude-b-2", True),
        (("o?", "claude-[ab]*"), "claude-c-2", False),
        (("*",), "ft:gpt-4o\n", True),
        (("model[1]",), "model[1]", True),
    ],
)
def test_patterns_admit_models(
    patterns: tuple[str, ...] | None, model: str, admitted: bool
) -> None:
    assert matches(patterns, model) is admitted
