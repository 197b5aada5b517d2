"""Addresses below a base URL, and the credential that is shown there."""

import re
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.adapters.catalogue.layout import Surface

#: The beginning of a path that says which version of an API is meant.
VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?/")


@dataclass(slots=True, frozen=True)
class Place:
    """Where requests go, and with which credential.

    Attributes:
        last_part: Of the base URL's path, with a slash; empty if it has none.
        header: That carries the key, in lower case.
        prefix: What stands before the key there.
        is_versioned: No version of a request's path is added.
    """

    base_url: str
    last_part: str
    header: str
    prefix: str
    is_versioned: bool = False

    def at(self, surface: Surface) -> "Place":
        """Return the place of a dialect that differs from this one as *surface* says."""
        base_url = below(self.base_url, surface.path).rstrip("/")
        header, prefix = self.header, self.prefix
        if surface.credential_header is not None:
            header, prefix = surface.credential_header.lower(), surface.credential_prefix
        return Place(base_url, last_part_of(base_url), header, prefix, surface.is_versioned)

    def url_of(self, request: WireRequest) -> str:
        """Return where *request* goes."""
        base_url, path = self.base_url, request.path
        if self.last_part and path.startswith(self.last_part):
            # Base URLs are given with and without the version that begins a path.
            path = path[len(self.last_part) :]
        elif self.is_versioned and (version := VERSION.match(path)):
            path = path[version.end() :]
        elif VERSION.fullmatch(self.last_part) and VERSION.match(path):
            # Another dialect has its own version at the same provider.
            base_url = base_url.removesuffix(f"/{self.last_part[:-1]}")
        return f"{base_url}/{path}?{request.query}" if request.query else f"{base_url}/{path}"


def below(base_url: str, path: str) -> str:
    """Return the URL of *path*, which may lead up with `..` and is another URL if it is whole."""
    return urljoin(f"{base_url}/", path)


def is_below(path: str) -> bool:
    """Tell whether *path* neither leads up nor is a URL of its own."""
    return not path.startswith("../") and "://" not in path


def last_part_of(base_url: str) -> str:
    """Return the last part of the URL's path with a slash, or an empty text."""
    last = urlsplit(base_url).path.rpartition("/")[2]
    return f"{last}/" if last else ""


def checked(base_url: str) -> str:
    """Return *base_url* without a slash at its end.

    Raises:
        ConfigurationError: It is no absolute HTTP URL, or has more than a path.
    """
    try:
        parts = urlsplit(base_url)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ConfigurationError(f"base_url should be like https://host/v1, not '{base_url}'")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigurationError(
            f"base_url for {parts.hostname} should end with its path: "
            "credentials belong to keys, options to headers"
        )
    return base_url.rstrip("/")
