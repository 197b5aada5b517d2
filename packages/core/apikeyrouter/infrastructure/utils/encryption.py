"""Secrets at rest: AES-256-GCM under one key, with room for older keys.

A token is url-safe base64 of a version byte, a random 12-byte nonce and the
ciphertext with its tag. The context (the id of the record) is authenticated
but not stored, so a token that is moved to another record does not open.
Keeps nothing on disk and derives nothing from passwords.
"""

import base64
import binascii
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apikeyrouter.errors import EncryptionError

__all__ = ["EncryptionError", "EncryptionService"]

_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_BYTES = 32


class EncryptionService:
    """Seals and opens secrets.

    Args:
        key: 32 bytes as url-safe base64, as `generate_key()` prints them, or as
            raw bytes. `None` makes a fresh key that lives as long as this object.
        previous: Keys that were used before; they open tokens but seal none.

    Raises:
        EncryptionError: A key is not 32 bytes.
    """

    __slots__ = ("_ciphers", "ephemeral")

    def __init__(
        self, key: str | bytes | None = None, *, previous: Sequence[str | bytes] = ()
    ) -> None:
        #: Whether what is sealed here is lost with this object.
        self.ephemeral = key is None
        current = os.urandom(_KEY_BYTES) if key is None else _decode_key(key)
        self._ciphers = [AESGCM(raw) for raw in (current, *map(_decode_key, previous))]

    def __repr__(self) -> str:
        return f"EncryptionService(ephemeral={self.ephemeral}, keys={len(self._ciphers)})"

    @staticmethod
    def generate_key() -> str:
        """Return a new random key as url-safe base64."""
        return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode("ascii")

    def encrypt(self, plaintext: str, context: str = "") -> str:
        """Seal *plaintext*; only the same *context* opens it again.

        The same input gives another token each time.

        Raises:
            EncryptionError: The text is not valid Unicode.
        """
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[0].encrypt(nonce, _encode(plaintext), _bound(context))
        return base64.urlsafe_b64encode(_VERSION + nonce + sealed).decode("ascii")

    def decrypt(self, token: str, context: str = "") -> str:
        """Open what `encrypt` sealed under the current key or a previous one.

        Raises:
            EncryptionError: The token is malformed, was altered, belongs to
                another record, or was sealed under a key that is not here.
        """
        nonce, sealed = _split(token)
        bound = _bound(context)
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, sealed, bound).decode()
            except InvalidTag:
                continue
        raise EncryptionError(
            "cannot open this secret: it was altered, moved from another record, or sealed under "
            "another key; check APIKEYROUTER_ENCRYPTION_KEY"
        )


def _decode_key(key: str | bytes) -> bytes:
    if isinstance(key, bytes) and len(key) == _KEY_BYTES:
        return key
    try:
        raw = _from_base64(key.strip())
    except ValueError:
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise EncryptionError(
            "an encryption key should be 32 bytes as url-safe base64 (44 characters); make one "
            "with EncryptionService.generate_key() or cryptography's Fernet.generate_key()"
        ) from None
    return raw


def _split(token: str) -> tuple[bytes, bytes]:
    """Return nonce and ciphertext."""
    try:
        raw = _from_base64(token)
    except ValueError:
        raise EncryptionError("not a sealed secret: it is not url-safe base64") from None
    if len(raw) < len(_VERSION) + _NONCE_BYTES + _TAG_BYTES:
        raise EncryptionError("not a sealed secret: it is too short")
    if not raw.startswith(_VERSION):
        raise EncryptionError(f"sealed by another program or version (format {raw[0]})")
    return raw[1 : 1 + _NONCE_BYTES], raw[1 + _NONCE_BYTES :]


def _from_base64(text: str | bytes) -> bytes:
    """Decode strictly, with or without padding.

    Raises:
        ValueError: There are other characters, or the last one has stray bits.
    """
    data = text.encode("ascii") if isinstance(text, str) else text
    data = data.rstrip(b"=")
    raw = binascii.a2b_base64(
        data.translate(_TO_STANDARD) + b"=" * (-len(data) % 4), strict_mode=True
    )
    # Stray bits would let two spellings stand for one token.
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != data:
        raise ValueError("not canonical url-safe base64")
    return raw


_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


def _encode(plaintext: str) -> bytes:
    try:
        return plaintext.encode()
    except UnicodeEncodeError:
        raise EncryptionError("cannot seal text that is not valid Unicode") from None


def _bound(context: str) -> bytes:
    """Tie the format's version to the record, so that neither can be swapped."""
    return _VERSION + context.encode("utf-8", "surrogatepass")
