"""One recorded move of one entity."""

import uuid
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class StateTransition(BaseModel):
    """Who moved from where to where, when and why."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    entity_type: str
    entity_id: str
    from_state: str
    to_state: str
    transition_timestamp: datetime
    trigger: str = ""
