"""What `serve` was asked to run, as the one process or as one of several."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from apikeyrouter import ConfigurationError, RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.app import ProxyApp, create_app, refuse_exposed
from apikeyrouter_proxy.composition import config_path, read_config
from apikeyrouter_proxy.configuration.reloading import ConfigSource
from apikeyrouter_proxy.dataplane.bodies.reader import held_bytes_by_default
from apikeyrouter_proxy.settings import ProxySettings


@dataclass(slots=True, frozen=True)
class ServePlan:
    """Where the configuration is, and what the command line says instead of it.

    Attributes:
        config: The file; `None` for `APIKEYROUTER_CONFIG_FILE`, or the environment's keys.
        ledger: Of all workers, where the configuration names none; empty for one process.
        number: Of this worker, from 0.
        workers: How many share the memory that bodies may take.
    """

    config: str | None
    host: str | None
    port: int | None
    ledger: str = ""
    number: int = 0
    workers: int = 1

    @classmethod
    def of(cls, config: Path | None, host: str | None, port: int | None) -> "ServePlan":
        """Return the plan of one process; the port may be the environment's."""
        port = port if port is not None else ProxySettings().port
        return cls(None if config is None else str(config), host, port)

    def for_worker(self, number: int, workers: int, ledger: str) -> "ServePlan":
        """Return the plan of one of several workers."""
        return replace(self, number=number, workers=workers, ledger=ledger)

    def encoded(self) -> str:
        """Return the plan as a line of text; no secret is in it."""
        return json.dumps(asdict(self))

    @classmethod
    def decoded(cls, text: str) -> "ServePlan":
        """Read what `encoded` wrote."""
        return cls(**json.loads(text))

    def read(self) -> RouterConfig:
        """Read the configuration; this process's part of what all workers share.

        Raises:
            ConfigurationError: What is wrong, with file, line and field.
        """
        facts = read_config(self.config, os.environ)
        server: dict[str, object] = {"host": self.host, "port": self.port}
        if self.workers > 1:
            held = facts.server.max_inflight_body or held_bytes_by_default()
            server["max_inflight_body"] = max(1, held // self.workers)
        changes: dict[str, object] = {
            "server": facts.server.model_copy(
                update={name: value for name, value in server.items() if value is not None}
            )
        }
        if self.ledger and facts.ledger == "local":
            changes["ledger"] = self.ledger
        return facts.model_copy(update=changes)

    def checked(self) -> RouterConfig:
        """Read the configuration, and refuse what `serve` cannot start with.

        Raises:
            ConfigurationError: What is wrong, and what to do.
        """
        facts = self.read()
        if not facts.keys and RouterSettings().management_api_key is None:
            raise ConfigurationError(
                "there is no key: set OPENAI_API_KEY (or another provider's), or name a "
                "configuration file with --config; `apikeyrouter demo` needs none"
            )
        refuse_exposed(facts)
        return facts

    def app(self, facts: RouterConfig) -> ProxyApp:
        """Build the service of *facts*, which go on by the file.

        Raises:
            ConfigurationError: What is wrong.
        """
        path = config_path(self.config, os.environ)
        source = None if path is None else ConfigSource(path, self.read)
        return create_app(facts, settings=RouterSettings(), source=source)
