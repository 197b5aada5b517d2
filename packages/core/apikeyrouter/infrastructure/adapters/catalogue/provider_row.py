"""One provider as a row of data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.infrastructure.adapters.catalogue.layout import Layout

#: Input and output cap are charged when a request is let in, and corrected afterwards.
SUM = Admission(counts_cap=True)
#: Only what is really used is charged.
ACTUAL = Admission(counts_cap=False)
#: Dialects by name, as rows list them.
CHAT, RESPONSES, ANTHROPIC, GEMINI = "openai", "openai-responses", "anthropic", "gemini"
_USUAL = Layout()


@dataclass(slots=True, frozen=True)
class ProviderRow:
    """One provider of the catalogue.

    Attributes:
        base_url: Parts in braces are the operator's to fill in.
        dialect: Of its rate-limit headers, `none` when it sends none; also says what it means
            by a status where others mean something else.
        admission: How it charges tokens when it lets a request in.
        calendars: Period in seconds -> what limits of that period end with.
        stream_options: It tells usage in a stream only when asked to.
        models: Patterns of what it serves; `None` asks the provider.
        dialects: What it speaks, preferred first.
        tried_dialects: What it may speak besides.
        kind: Whose adapter it has, a name of `KINDS`.
        layout: Where all that is.
        needs_key: `False` where any text will do as a key.
    """

    base_url: str
    dialect: str = "openai"
    admission: Admission = SUM
    calendars: Mapping[float, Calendar] = field(default_factory=dict)
    per_model: bool = True
    stream_options: bool = True
    models: tuple[str, ...] | None = None
    credential_header: str = "Authorization"
    credential_prefix: str = "Bearer "
    dialects: tuple[str, ...] = (CHAT,)
    tried_dialects: tuple[str, ...] = ()
    kind: str = "openai"
    layout: Layout = _USUAL
    needs_key: bool = True

    @property
    def needs_address(self) -> bool:
        """Whether the base URL has parts that only the operator knows."""
        return "{" in self.base_url
