"""One recorded move of one entity."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class StateTransition(BaseModel):
    """Who moved from where to where, when and why."""

    model_config = ConfigDict(frozen=True)

    entity_type: str
    entity_id: str
    from_state: str
    to_state: str
    transition_timestamp: datetime
    trigger: str = ""
