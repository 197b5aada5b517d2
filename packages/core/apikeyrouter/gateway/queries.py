"""What of an address's query may go to a provider."""

from urllib.parse import unquote_plus

#: Parameters that are credentials, as some clients send theirs, in lower case.
_CREDENTIALS = frozenset(
    {
        "key", "access_token", "oauth_token", "api_key", "api-key", "apikey",
        "x-api-key", "x-goog-api-key",
    }
)  # fmt: skip


def without_credentials(query: str) -> str:
    """Return *query* without its credentials; all else stays as it is."""
    if not query:
        return query
    return "&".join(pair for pair in query.split("&") if _name_of(pair) not in _CREDENTIALS)


def _name_of(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0]).strip().lstrip("$").lower()
