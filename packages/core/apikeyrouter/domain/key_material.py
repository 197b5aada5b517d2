"""What can be a credential at all, the name that follows from it, and what seals it."""

import hashlib
from typing import Protocol

from apikeyrouter.errors import KeyRegistrationError

_SHORTEST_MASKED = 12
_LONGEST_MATERIAL = 4096


class Sealer(Protocol):
    """What the manager needs of an encryption service."""

    def encrypt(self, plaintext: str, context: str = "") -> str:
        """Seal *plaintext* for *context*."""

    def decrypt(self, token: str, context: str = "") -> str:
        """Open what was sealed for the same *context*."""

    def rewrap(self, token: str, context: str = "") -> str | None:
        """Return *token* under the first key; `None` if it is under it already."""


def derived_id(provider_id: str, secret: str) -> str:
    """Derive a stable id that tells nothing of the secret; loading a file twice changes nothing."""
    digest = hashlib.sha256(f"{provider_id}\0{secret}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{provider_id}-{digest[:10]}"


def check_material(material: str) -> None:
    """Raise `KeyRegistrationError` unless *material* can stand in a header as it is."""
    if not isinstance(material, str) or not material.strip():
        raise KeyRegistrationError("key material is empty; pass the provider's secret")
    if len(material) > _LONGEST_MATERIAL:
        raise KeyRegistrationError(
            f"key material has {len(material)} characters; at most {_LONGEST_MATERIAL} make a key"
        )
    if not material.isprintable() or any(c.isspace() for c in material) or not material.isascii():
        raise KeyRegistrationError(
            "key material holds spaces, line breaks or characters outside ASCII; copy it again"
        )


def masked_in(data: bytes, secret: bytes) -> bytes:
    """Return *data* with stars for each *secret* in it, as long as it is.

    Short ones stay: they may be words, and those who have no key of their own send any.
    """
    if len(secret) < _SHORTEST_MASKED or secret not in data:
        return data
    return data.replace(secret, b"*" * len(secret))
