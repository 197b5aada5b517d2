"""What cannot be carried is named as its client's dialect names it."""

from typing import Any

import msgspec
import pytest

from apikeyrouter.dialects.catalogue import DIALECTS
from apikeyrouter.dialects.conversation import UntranslatableError
from apikeyrouter.dialects.translation import Translations
from apikeyrouter.domain.interfaces.wire import WireRequest

pytestmark = pytest.mark.unit
SAYS: Any = [{"role": "user", "content": "Hi!"}]
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("look", "go")]
SOURCE = {"type": "text", "media_type": "text/plain", "data": "d"}
CASES: dict[str, tuple[str, Any, str, list[str]]] = {
    "tool choice": (
        "messages",
        {"messages": SAYS, "tools": TOOLS,
         "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        "gemini", ["tool_choice.disable_parallel_tool_use"],
    ),
    "context": (
        "messages",
        {"messages": [{"role": "user", "content": [
            {"type": "document", "source": SOURCE, "context": "Mine."}]}]},
        "openai", ["messages.content.context"],
    ),
    "config": (
        "generateContent",
        {"contents": [{"parts": [{"text": "Hi!"}]}],
         "generationConfig": {"seed": 3, "frequencyPenalty": 0.5}, "odd": 1},
        "anthropic", ["odd", "generationConfig.seed", "generationConfig.frequencyPenalty"],
    ),
    "chat": ("chat/completions", {"messages": SAYS, "seed": 3}, "anthropic", ["seed"]),
}  # fmt: skip


@pytest.mark.parametrize(("endpoint", "body", "to", "names"), CASES.values(), ids=CASES)
def test_loss_is_named_as_the_client_names_it(
    endpoint: str, body: Any, to: str, names: list[str]
) -> None:
    request = WireRequest(endpoint, msgspec.json.encode(body), endpoint=endpoint)
    lenient = Translations(lenient=True).translate(request, DIALECTS[to], model="m", stream=False)
    assert lenient.dropped == tuple(names)
    with pytest.raises(UntranslatableError) as caught:
        Translations(lenient=False).translate(request, DIALECTS[to], model="m", stream=False)
    assert str(caught.value).startswith(", ".join(names) + ": ")
