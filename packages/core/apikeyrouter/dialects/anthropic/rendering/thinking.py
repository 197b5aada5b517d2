"""How much a model is to think, and how its tokens are drawn: what its version takes of both."""

from typing import Any

from apikeyrouter.dialects.anthropic.rendering import models
from apikeyrouter.dialects.anthropic.rendering.signatures import is_own
from apikeyrouter.dialects.conversation import (
    Conversation,
    Losses,
    Reasoning,
    Thinking,
    ToolCall,
    Turn,
)

#: The least that a budget may be.
_LEAST_BUDGET = 1024
#: Of models that take no effort.
_BUDGETS = {"minimal": 1024, "low": 4096, "medium": 16384, "high": 32768, "xhigh": 49152}
_USUAL_BUDGET = _BUDGETS["medium"]
#: Up to so many tokens are this effort.
_EFFORTS = ((4096, "low"), (16384, "medium"))
_MOST_TEMPERATURE, _LEAST_TOP_P = 1.0, 0.95


def thinking_of(conversation: Conversation, max_tokens: int) -> tuple[dict[str, Any], str]:
    """Return the members that say how to think, and the effort; empty where nothing is said."""
    wish = conversation.reasoning
    if wish is None:
        return {}, ""
    if wish.effort == "none":
        off = models.takes_budget(conversation.model) and _is_claude(conversation.model)
        return ({"thinking": {"type": "disabled"}} if off else {}), ""
    is_forced = conversation.tool_choice is not None and conversation.tool_choice.mode == "required"
    if _is_adaptive(conversation.model, wish):
        adaptive: dict[str, Any] = {"type": "adaptive"}
        if wish.shows is not None:
            adaptive["display"] = "summarized" if wish.shows else "omitted"
        # Whoever has to call a tool cannot think before it.
        return ({} if is_forced else {"thinking": adaptive}), _effort_of(conversation.model, wish)
    budget = _budget_of(wish, max_tokens)
    if is_forced or budget < _LEAST_BUDGET or _lacks_thoughts(conversation.turns):
        return {}, ""
    enabled: dict[str, Any] = {"type": "enabled", "budget_tokens": budget}
    if wish.shows is False:
        enabled["display"] = "omitted"
    return {"thinking": enabled}, ""


def sampling_of(conversation: Conversation, losses: Losses, *, thinks: bool) -> dict[str, Any]:
    """Return how tokens are drawn; what the model does not take goes to *losses*."""
    sampling, model = conversation.sampling, conversation.model
    for name in ("seed", "frequency_penalty", "presence_penalty"):
        if getattr(sampling, name) is not None:
            losses.lack(name)
    told: dict[str, Any] = {
        name: value
        for name in ("temperature", "top_p", "top_k")
        if (value := getattr(sampling, name)) is not None
    }
    if not models.takes_sampling(model):
        _leave_out(told, losses, *told)
    if told.get("temperature", 0) > _MOST_TEMPERATURE:
        losses.lack("temperature")
        told["temperature"] = _MOST_TEMPERATURE
    if thinks:
        if told.get("temperature") != _MOST_TEMPERATURE:
            _leave_out(told, losses, "temperature")
        if told.get("top_p", 1) < _LEAST_TOP_P:
            _leave_out(told, losses, "top_p")
        _leave_out(told, losses, "top_k")
    if len(told.keys() & {"temperature", "top_p"}) > 1 and not models.takes_two_samplings(model):
        # The whole of what may come is no choice.
        _leave_out(told, losses, "top_p", named=told["top_p"] != 1)
    return told


def _leave_out(told: dict[str, Any], losses: Losses, *names: str, named: bool = True) -> None:
    for name in names:
        if told.pop(name, None) is not None and named:
            losses.lack(name)


def _is_claude(model: str) -> bool:
    return "claude" in model.lower()


def _is_adaptive(model: str, wish: Reasoning) -> bool:
    """Tell whether the model is to decide: it has to, or it may and no number was named."""
    if not models.thinks_by_itself(model):
        return False
    is_number = wish.budget_tokens is not None and wish.budget_tokens >= 0
    return not is_number or not models.takes_budget(model)


def _effort_of(model: str, wish: Reasoning) -> str:
    effort, budget = wish.effort, wish.budget_tokens
    if not effort and budget is not None and budget >= 0:
        effort = next((name for most, name in _EFFORTS if budget <= most), "high")
    if effort == "minimal":
        return "low"
    return "high" if effort == "xhigh" and models.takes_budget(model) else effort


def _budget_of(wish: Reasoning, max_tokens: int) -> int:
    if wish.budget_tokens is not None and wish.budget_tokens >= 0:
        # It has to be below the cap.
        return min(wish.budget_tokens, max_tokens - 1)
    # Of the whole a quarter is left for the answer.
    return min(_BUDGETS.get(wish.effort, _USUAL_BUDGET), max_tokens * 3 // 4)


def _lacks_thoughts(turns: list[Turn]) -> bool:
    """Tell whether tools were called without thoughts that can be shown: then none may follow."""
    last = next((turn for turn in reversed(turns) if turn.role == "assistant"), None)
    if last is None or not any(isinstance(part, ToolCall) for part in last.parts):
        return False
    return not any(
        isinstance(part, Thinking) and is_own(part) and (part.signature or part.encrypted)
        for part in last.parts
    )
