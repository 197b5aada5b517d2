"""What of an address's query may go to a provider."""

from urllib.parse import unquote_plus

#: Parameters that are credentials, as Google's clients may send them.
_CREDENTIALS = frozenset({"key", "access_token", "oauth_token"})


def without_credentials(query: str) -> str:
    """Return *query* without its credentials; all else stays as it is."""
    return "&".join(pair for pair in query.split("&") if _name_of(pair) not in _CREDENTIALS)


def _name_of(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0]).lstrip("$").lower()
