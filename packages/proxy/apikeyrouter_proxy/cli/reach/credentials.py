"""The management key that commands send: from a file, else from the settings."""

from dataclasses import dataclass, field
from pathlib import Path

from apikeyrouter import RouterSettings
from apikeyrouter_proxy.cli.reach.management import CommandError


@dataclass(slots=True, frozen=True)
class ManagementKey:
    """A key, and where it came from, for people."""

    text: str = field(repr=False)
    source: str


def management_key(file: Path | None) -> ManagementKey | None:
    """Return the key to send; one that may only look where there is no other.

    Raises:
        CommandError: The file cannot be read, or is empty.
        ConfigurationError: A setting is wrong.
    """
    if file is not None:
        return ManagementKey(_first_of(text_of(file), str(file)), str(file))
    settings = RouterSettings()
    for name in ("management_api_key", "management_read_key"):
        secret = getattr(settings, name)
        if secret is not None:
            variable = f"APIKEYROUTER_{name.upper()}"
            return ManagementKey(_first_of(secret.get_secret_value(), variable), variable)
    return None


def text_of(file: Path) -> str:
    """Return the text of a small file.

    Raises:
        CommandError: It cannot be read.
    """
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise CommandError(f"{file}: should be UTF-8 text") from None


def _first_of(text: str, source: str) -> str:
    # Several with commas between open the same service.
    key = next((part.strip() for part in text.split(",") if part.strip()), "")
    if not key:
        raise CommandError(f"{source}: is empty; it should have the management key")
    return key
