"""What a service needs beside `ApiKeyRouter`: the only other module that it imports.

A service reads a request, makes a `Demand` of it, hands it to `ApiKeyRouter.forward`, and
passes the `Answer` on. Names that are listed here stay where they are; whatever else the library
is made of may move.
"""

from apikeyrouter.dialects.catalogue import DIALECTS, OPENAI_CHAT, RAW, dialect_of
from apikeyrouter.dialects.dialect import BadBodyError, Dialect, Peek, ToldError
from apikeyrouter.dialects.gemini import names as gemini_names
from apikeyrouter.dialects.gemini.peek import GeminiPeek
from apikeyrouter.dialects.openai_chat.peek import peek_media
from apikeyrouter.dialects.openai_responses.events import read_told
from apikeyrouter.dialects.openai_responses.peek import ResponsesPeek
from apikeyrouter.dialects.streams.sse import EventParser, data_of_events
from apikeyrouter.dialects.streams.unpacking import (
    READABLE_CODINGS,
    readable_of,
    unpack,
    unpacker_of,
)
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.components.key_declarations import KeyDeclaration, StoredKey
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.feed import events
from apikeyrouter.domain.interfaces.state_store import (
    Document,
    StateQuery,
    StateStore,
    UsageQuery,
    UsageRow,
    UsageSum,
    cursor_after,
    read_cursor,
)
from apikeyrouter.domain.interfaces.usage_records import UsageCounts
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.domain.key_slot import KeySlot, matches
from apikeyrouter.domain.ledger.ledger import LedgerAccount
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.declared_limits import check_limits
from apikeyrouter.domain.models.api_key import KeyState
from apikeyrouter.domain.models.budget import Budget
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.domain.object_register import MemoryObjectRegister, ObjectRegister, Owner
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.domain.routing.demand import MOST_OUTPUT_TOKENS
from apikeyrouter.domain.token_estimate import estimate_tokens
from apikeyrouter.errors import (
    EncryptionError,
    InvalidStateTransitionError,
    KeyNotFoundError,
    KeyRegistrationError,
    StateConflictError,
    StateStoreError,
    UnreadableRecordError,
)
from apikeyrouter.gateway.counting import ESTIMATED, estimated_count
from apikeyrouter.gateway.demands import demand_for
from apikeyrouter.gateway.headers import request_headers, response_headers
from apikeyrouter.gateway.model_cards import card_of
from apikeyrouter.gateway.outgoing import Outgoing
from apikeyrouter.gateway.queries import without_credentials
from apikeyrouter.gateway.refusals import (
    ErrorAnswer,
    for_failure,
    for_no_key,
    is_clients_fault,
    refusal,
    refusal_headers,
    retry_hints,
)
from apikeyrouter.infrastructure.adapters.admin.catalogue import ADMIN_APIS
from apikeyrouter.infrastructure.adapters.catalogue.layout import Layout
from apikeyrouter.infrastructure.adapters.connection_options import DIRECT, ConnectionOptions
from apikeyrouter.infrastructure.adapters.errors.error_classification import UNTRUSTED
from apikeyrouter.infrastructure.adapters.http_adapter import HttpAdapter
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.adapters.provider_catalogue import (
    CATALOGUE,
    KINDS,
    custom_adapter,
    make_adapter,
    missing_address,
)
from apikeyrouter.infrastructure.config.money import apply_money, budget_of, budgets_of
from apikeyrouter.infrastructure.config.settings import explain
from apikeyrouter.infrastructure.config.values import (
    BaseUrl,
    Limits,
    Name,
    ObjectiveName,
    Patterns,
    Seconds,
    Secret,
    Share,
    Targets,
    Text,
    Whole,
    is_loopback,
)
from apikeyrouter.infrastructure.state_store.drivers import bare
from apikeyrouter.infrastructure.state_store.stores import store_at
from apikeyrouter.infrastructure.utils.key_file import key_file_of, key_in, make_key_in
from apikeyrouter.infrastructure.utils.service_mark import ServiceMark, database_file_of
from apikeyrouter.keys.admin_reports import AdminReports
from apikeyrouter.keys.model_lists import ModelLists
from apikeyrouter.keys.retirement import Retirement
from apikeyrouter.ledger_sharing import share_learning, share_ledger
from apikeyrouter.object_keeping import KeptObjectRegister
from apikeyrouter.request.exchange import Answer
from apikeyrouter.request.forwarding import forward_by
from apikeyrouter.request.metered_stream import MeteredStream
from apikeyrouter.request.sockets.opening import MeteredSocket, connect_by
from apikeyrouter.request.sockets.pool import STREAM as SOCKET_BODY_BEGINS
from apikeyrouter.request.sockets.pool import SocketPool
from apikeyrouter.spreading.spreading import Spreading

__all__ = [
    "ADMIN_APIS",
    "CATALOGUE",
    "DIALECTS",
    "DIRECT",
    "ESTIMATED",
    "KINDS",
    "MOST_OUTPUT_TOKENS",
    "OPENAI_CHAT",
    "RAW",
    "READABLE_CODINGS",
    "SOCKET_BODY_BEGINS",
    "UNTRUSTED",
    "AdminReports",
    "Answer",
    "Attempt",
    "BadBodyError",
    "BaseUrl",
    "Budget",
    "ConnectionOptions",
    "Dialect",
    "Document",
    "EncryptionError",
    "ErrorAnswer",
    "EventParser",
    "Failure",
    "FailureClass",
    "GeminiPeek",
    "HttpAdapter",
    "InvalidStateTransitionError",
    "KeptObjectRegister",
    "KeyDeclaration",
    "KeyNotFoundError",
    "KeyRegistrationError",
    "KeySlot",
    "KeyState",
    "Layout",
    "LedgerAccount",
    "Limits",
    "MemoryObjectRegister",
    "MeteredSocket",
    "MeteredStream",
    "ModelLists",
    "Name",
    "ObjectRegister",
    "ObjectiveName",
    "OpenAIAdapter",
    "Outgoing",
    "Owner",
    "Patterns",
    "Peek",
    "QuotaScope",
    "ResponsesPeek",
    "Retirement",
    "Seconds",
    "Secret",
    "ServiceMark",
    "Share",
    "SocketPool",
    "Spreading",
    "StateConflictError",
    "StateQuery",
    "StateStore",
    "StateStoreError",
    "StoredKey",
    "Targets",
    "Text",
    "ToldError",
    "UnreadableRecordError",
    "UsageCounts",
    "UsageQuery",
    "UsageRow",
    "UsageSum",
    "Whole",
    "Window",
    "WireRequest",
    "apply_money",
    "bare",
    "budget_of",
    "budgets_of",
    "card_of",
    "check_limits",
    "connect_by",
    "cursor_after",
    "custom_adapter",
    "data_of_events",
    "database_file_of",
    "demand_for",
    "dialect_of",
    "estimate_tokens",
    "estimated_count",
    "events",
    "explain",
    "for_failure",
    "for_no_key",
    "forward_by",
    "gemini_names",
    "instant",
    "is_clients_fault",
    "is_loopback",
    "key_file_of",
    "key_in",
    "make_adapter",
    "make_key_in",
    "matches",
    "missing_address",
    "peek_media",
    "read_cursor",
    "read_told",
    "readable_of",
    "refusal",
    "refusal_headers",
    "request_headers",
    "response_headers",
    "retry_hints",
    "share_learning",
    "share_ledger",
    "store_at",
    "unpack",
    "unpacker_of",
    "without_credentials",
]
