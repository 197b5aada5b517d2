"""The `apikeyrouter` command."""

from apikeyrouter_proxy.cli.commands import app

__all__ = ["app"]
