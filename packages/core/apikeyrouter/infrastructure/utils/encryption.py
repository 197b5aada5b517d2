"""Secrets at rest: AES-256-GCM, a key of its own for each record, wrapped by a master key.

A token is url-safe base64 of a version byte and what that version says:

    2   name of the master key (4 bytes), nonce and wrapped data key, nonce and ciphertext
    1   nonce and ciphertext, sealed by the master key itself; opened, never made any more

The context (the id of the record) is authenticated but not stored, so a token that is
moved to another record does not open. Several master keys open; the first one seals.
A passphrase becomes a key by scrypt and a salt that the store keeps, once at the start.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apikeyrouter.errors import EncryptionError

__all__ = ["EncryptionError", "EncryptionService"]

_SEALED_BY_MASTER, _ENVELOPE = 1, 2
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_BYTES = 32
_NAME_BYTES = 4
_WRAPPED_BYTES = _NONCE_BYTES + _KEY_BYTES + _TAG_BYTES
_SEALED_BYTES = _NONCE_BYTES + _TAG_BYTES
SALT_BYTES = 16
PASSPHRASE = "passphrase:"  # noqa: S105 - what one begins with
_SHORTEST_PASSPHRASE = 12
#: 64 MiB and a fifth of a second.
_SCRYPT = {"n": 2**16, "r": 8, "p": 1, "maxmem": 2**27}


class _MasterKey:
    """One key that wraps others, and the name by which tokens refer to it."""

    __slots__ = ("cipher", "name")

    def __init__(self, raw: bytes) -> None:
        self.cipher = AESGCM(raw)
        self.name = hashlib.sha256(b"apikeyrouter master key\0" + raw).digest()[:_NAME_BYTES]


class EncryptionService:
    """Seals and opens secrets.

    Args:
        key: 32 bytes as url-safe base64, as `generate_key()` prints them, or as
            raw bytes. `None` makes a fresh key that lives as long as this object.
        previous: Keys that were used before; they open tokens but seal none.

    Raises:
        EncryptionError: A key is not 32 bytes.
    """

    __slots__ = ("_keys", "_locked", "ephemeral")

    def __init__(
        self, key: str | bytes | None = None, *, previous: Sequence[str | bytes] = ()
    ) -> None:
        #: Whether what is sealed here is lost with this object.
        self.ephemeral = key is None
        current = os.urandom(_KEY_BYTES) if key is None else _decode_key(key)
        #: By place; `None` where a passphrase has not become a key yet.
        self._keys: list[_MasterKey | None] = [
            _MasterKey(raw) for raw in (current, *map(_decode_key, previous))
        ]
        self._locked: dict[int, str] = {}

    @classmethod
    def of_setting(cls, text: str | None) -> "EncryptionService":
        """Make the service of what `APIKEYROUTER_ENCRYPTION_KEY` says.

        Args:
            text: Keys with commas between them, the first of which seals. One may be a
                passphrase, `passphrase:` and at least 12 characters; then `unlock` comes first.

        Raises:
            EncryptionError: One of them is neither.
        """
        parts = [part.strip() for part in (text or "").split(",")]
        if parts == [""]:
            return cls(None if text is None else "")
        service = cls.__new__(cls)
        service.ephemeral = False
        service._keys, service._locked = [], {}
        for place, part in enumerate(parts):
            if part.startswith(PASSPHRASE):
                service._locked[place] = _checked_passphrase(part)
                service._keys.append(None)
            else:
                service._keys.append(_MasterKey(_decode_key(part)))
        return service

    def __repr__(self) -> str:
        return f"EncryptionService(ephemeral={self.ephemeral}, keys={len(self._keys)})"

    @staticmethod
    def generate_key() -> str:
        """Return a new random key as url-safe base64."""
        return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode("ascii")

    @property
    def needs_salt(self) -> bool:
        """Whether a passphrase waits to become a key."""
        return bool(self._locked)

    def unlock(self, salt: bytes) -> None:
        """Make keys of the passphrases; takes a fifth of a second of CPU for each."""
        for place, passphrase in list(self._locked.items()):
            raw = hashlib.scrypt(passphrase.encode(), salt=salt, dklen=_KEY_BYTES, **_SCRYPT)
            self._keys[place] = _MasterKey(raw)
            self._locked.pop(place, None)

    def encrypt(self, plaintext: str, context: str = "") -> str:
        """Seal *plaintext*; only the same *context* opens it again.

        The same input gives another token each time.

        Raises:
            EncryptionError: The text is not valid Unicode, or a passphrase is not unlocked.
        """
        text = _encode(plaintext)
        data_key = os.urandom(_KEY_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + AESGCM(data_key).encrypt(nonce, text, _bound(_ENVELOPE, context))
        return self._envelope(data_key, sealed, context)

    def decrypt(self, token: str, context: str = "") -> str:
        """Open what `encrypt` sealed under the current key or a previous one.

        Raises:
            EncryptionError: The token is malformed, was altered, belongs to
                another record, or was sealed under a key that is not here.
        """
        version, raw = _split(token)
        if version == _SEALED_BY_MASTER:
            bound = _bound(version, context)
            return _open(self._unlocked(), raw, bound).decode()
        name, wrapped, sealed = _parts(raw)
        data_key = self._unwrap(name, wrapped, context)
        return _open([AESGCM(data_key)], sealed, _bound(version, context)).decode()

    def rewrap(self, token: str, context: str = "") -> str | None:
        """Return *token* under the first key; `None` if it is under it already.

        Raises:
            EncryptionError: It does not open.
        """
        version, raw = _split(token)
        if version == _SEALED_BY_MASTER:
            return self.encrypt(self.decrypt(token, context), context)
        name, wrapped, sealed = _parts(raw)
        if name == self._first().name:
            return None
        return self._envelope(self._unwrap(name, wrapped, context), sealed, context)

    def _envelope(self, data_key: bytes, sealed: bytes, context: str) -> str:
        master, nonce = self._first(), os.urandom(_NONCE_BYTES)
        wrapped = nonce + master.cipher.encrypt(nonce, data_key, _bound_key(master.name, context))
        token = bytes([_ENVELOPE]) + master.name + wrapped + sealed
        return base64.urlsafe_b64encode(token).decode("ascii")

    def _unwrap(self, name: bytes, wrapped: bytes, context: str) -> bytes:
        return _open(self._unlocked(), wrapped, _bound_key(name, context))

    def _first(self) -> _MasterKey:
        first = self._keys[0]
        if first is None:
            raise EncryptionError(
                "the passphrase in APIKEYROUTER_ENCRYPTION_KEY becomes a key once the store has "
                "told its salt: await router.hydrate() before keys are registered"
            )
        return first

    def _unlocked(self) -> Iterable[AESGCM]:
        return (key.cipher for key in self._keys if key is not None)


def _open(ciphers: Iterable[AESGCM], raw: bytes, bound: bytes) -> bytes:
    for cipher in ciphers:
        try:
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound)
        except InvalidTag:
            continue
    raise EncryptionError(
        "cannot open this secret: it was altered, moved from another record, or sealed under "
        "another key; check APIKEYROUTER_ENCRYPTION_KEY"
    )


def _checked_passphrase(part: str) -> str:
    passphrase = part.removeprefix(PASSPHRASE)
    if len(passphrase) < _SHORTEST_PASSPHRASE:
        raise EncryptionError(
            f"a passphrase should have at least {_SHORTEST_PASSPHRASE} characters, none of them "
            "a comma"
        )
    return passphrase


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


def _split(token: str) -> tuple[int, bytes]:
    """Return the version and what it describes."""
    try:
        raw = _from_base64(token)
    except ValueError:
        raise EncryptionError("not a sealed secret: it is not url-safe base64") from None
    if len(raw) < 1 + _SEALED_BYTES:
        raise EncryptionError("not a sealed secret: it is too short")
    if raw[0] not in (_SEALED_BY_MASTER, _ENVELOPE):
        raise EncryptionError(f"sealed by another program or version (format {raw[0]})")
    return raw[0], raw[1:]


def _parts(raw: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the master key's name, the wrapped data key and the sealed secret."""
    if len(raw) < _NAME_BYTES + _WRAPPED_BYTES + _SEALED_BYTES:
        raise EncryptionError("not a sealed secret: it is too short")
    name, rest = raw[:_NAME_BYTES], raw[_NAME_BYTES:]
    return name, rest[:_WRAPPED_BYTES], rest[_WRAPPED_BYTES:]


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


def _bound(version: int, context: str) -> bytes:
    """Tie the format's version to the record, so that neither can be swapped."""
    return bytes([version]) + context.encode("utf-8", "surrogatepass")


def _bound_key(name: bytes, context: str) -> bytes:
    return b"key" + name + _bound(_ENVELOPE, context)
