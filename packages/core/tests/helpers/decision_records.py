"""Records of decisions, as requests leave them behind."""

import math

from apikeyrouter.domain.accounts.charge_learning import Belief
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.ledger.algorithms import FixedWindow
from apikeyrouter.domain.ledger.ledger import Shortfall
from apikeyrouter.domain.limits.observation import Dimension
from apikeyrouter.domain.models.routing_decision import ObjectiveType, RoutingObjective
from apikeyrouter.domain.routing.decision_record import AttemptNote, DecisionRecord

WINDOW = FixedWindow(Dimension.TOKENS, 1_000.0, 60.0, 0.0)
SHORT = Shortfall("tokens", 50.0, 2.0, 1_012.0, "header", 999.0)
FOREVER = Shortfall("calls", 1.0, 0.0, math.inf, for_calls=True)
OBJECTIVE = RoutingObjective(
    primary=ObjectiveType.COST,
    secondary=[ObjectiveType.LATENCY],
    constraints={"max_latency_ms": 900.0},
    weights={ObjectiveType.COST: 2.0},
)


def a_record(request_id: str = "r", at: float = 1_000.0) -> DecisionRecord:
    """Return the record of a request whose second attempt was answered."""
    record = DecisionRecord(request_id, "m", "ada", OBJECTIVE, at - 0.5, 80.0, waited_s=0.25)
    first = AttemptNote("k0", "lab", "m", 0.1, at - 0.4, 0.0, 3)
    first.end("rate_limited", "slow down", at - 0.1)
    record.add(first)
    last = AttemptNote(
        "k1", "lab", "m", 0.25, at, 0.25, 3,
        runners_up=("k2", 0.5),
        excluded=(("lab/k0", SHORT), ("lab/k3", FOREVER)),
        figures=(WINDOW, 80.0, 1_000.0),
        charge=Belief(Admission(larger_of=True), 31, 0.9),
        answered_at=at + 1.0,
    )  # fmt: skip
    last.end("ok", "", at + 2.0)
    record.add(last)
    record.input_tokens, record.output_tokens = 20, 8
    record.end("ok", at + 2.0)
    return record


def a_refusal() -> DecisionRecord:
    """Return the record of a request that nobody could take."""
    record = DecisionRecord("r-none", "m", "", RoutingObjective(), 1_000.0, refusal="no room")
    record.excluded = (("lab/k0", SHORT),)
    record.end("refused", 1_001.0)
    return record
