"""The encryption key of those who set none: a file beside the database, for its owner alone."""

import os
from pathlib import Path

from apikeyrouter.errors import EncryptionError
from apikeyrouter.infrastructure.utils.encryption import EncryptionService

_SUFFIX = ".key"


def key_file_of(store_url: str) -> Path | None:
    """Return where the key of a SQLite file stands; `None` for a store that is no file."""
    scheme, _, location = store_url.partition(":///")
    return Path(location.partition("?")[0] + _SUFFIX) if scheme == "sqlite" else None


def key_in(file: Path) -> str | None:
    """Return the key that stands in a file; `None` if there is no such file.

    Raises:
        EncryptionError: It cannot be read, or is no key.
    """
    try:
        text = file.read_text("ascii").strip()
        EncryptionService.of_setting(text)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EncryptionError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise EncryptionError(f"{file}: holds no encryption key") from None
    except EncryptionError as error:
        raise EncryptionError(f"{file}: {error}") from None
    return text


def make_key_in(file: Path) -> str:
    """Write a new key into a file of mode 0600, synced to disk, and return it.

    Whoever comes second of two that make it together is told what the first one wrote.

    Raises:
        EncryptionError: The file cannot be made.
    """
    key = EncryptionService.generate_key()
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as output:
            output.write(key + "\n")
            output.flush()
            os.fsync(output.fileno())
        try:
            # Whole or not at all, and never over one that is there.
            os.link(draft, file)
        except FileExistsError:
            return key_in(file) or key
        finally:
            draft.unlink()
    except OSError as error:
        raise EncryptionError(f"{file}: {error.strerror}") from error
    return key
