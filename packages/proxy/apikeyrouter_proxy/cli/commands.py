"""The `apikeyrouter` command. Errors go to stderr in a sentence; 1 is a user's mistake."""

import asyncio
import json
import os
import platform
from pathlib import Path
from typing import Annotated

import typer

from apikeyrouter import ConfigurationError, RouterSettings, __version__
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.app import create_app
from apikeyrouter_proxy.cli.accounts import accounts
from apikeyrouter_proxy.cli.audit import audit
from apikeyrouter_proxy.cli.clients import clients
from apikeyrouter_proxy.cli.keys import keys
from apikeyrouter_proxy.cli.options import ConfigOption, stop
from apikeyrouter_proxy.composition import masked, read_config
from apikeyrouter_proxy.configuration.setup import register_all
from apikeyrouter_proxy.settings import ProxySettings
from apikeyrouter_proxy.storage import check_storage, with_encryption_key

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(keys, name="keys")
app.add_typer(clients, name="clients")
app.add_typer(accounts, name="accounts")
app.add_typer(audit, name="audit")


@app.command()
def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="In place of the file's.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes; in place of the file's.")
    ] = None,
) -> None:
    """Run the proxy."""
    from apikeyrouter_proxy.serving import bind, server_for, url_of
    from apikeyrouter_proxy.workers.plan import ServePlan
    from apikeyrouter_proxy.workers.supervisor import Supervisor

    def announce() -> None:
        several = f", by {count} workers" if count > 1 else ""
        typer.echo(
            f"apikeyrouter {__version__} listening on {url_of(listener)} with {len(facts.keys)} "
            f"keys of {len({key.provider for key in facts.keys})} providers{several}"
        )

    try:
        plan = ServePlan.of(config, host, port)
        facts = plan.checked()
        count = workers or facts.server.workers
        patience_s = ProxySettings().shutdown_timeout_seconds
        check_storage(facts, RouterSettings())
        with bind(facts.server.host, facts.server.port) as listener:
            if count > 1:
                with_encryption_key(facts, RouterSettings())
                supervisor = Supervisor(
                    plan, facts, count, listener, patience_s=patience_s, on_started=announce
                )
                asyncio.run(supervisor.run())
            else:
                server_for(
                    plan.app(facts),
                    host=facts.server.host,
                    port=facts.server.port,
                    patience_s=patience_s,
                    on_started=announce,
                ).run(sockets=[listener])
    except ConfigurationError as error:
        raise stop(error) from None


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(min=1)] = 20.0,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One line of sums at the end.")] = False,
    scenario: Annotated[
        str,
        typer.Option(help="Simulated providers: a name (`apikeyrouter-simulator --list`) or file."),
    ] = "demo",
) -> None:
    """Watch the router at work on simulated providers; needs no key and no network."""
    from apikeyrouter_proxy.demo import Demo
    from apikeyrouter_proxy.live_table import LiveTable, print_summary
    from apikeyrouter_simulator import ScenarioError

    try:
        show = Demo(port=port, scenario=scenario)
        if as_json:
            sums = show.run(seconds)
            typer.echo(json.dumps(sums))
        else:
            with LiveTable() as table:
                sums = show.run(seconds, watch=table.show)
            print_summary(show, sums)
    except (ConfigurationError, ScenarioError) as error:
        raise stop(error) from None
    if sums["client_errors"]:
        raise typer.Exit(1)


@app.command("check-config")
def check_config(
    file: Annotated[Path | None, typer.Argument(help="Configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Validate a configuration and print what would run, with secrets masked."""
    try:
        facts = _listening_on(read_config(file, os.environ), None, ProxySettings().port)
        # What `serve` would refuse is refused here too; nothing is asked of a provider, and
        # nothing is stored.
        settings = RouterSettings()
        check_storage(facts, settings)
        service = create_app(facts.model_copy(update={"store": "memory://"}), settings=settings)
        asyncio.run(register_all(service.router, facts))
    except ConfigurationError as error:
        raise stop(error) from None
    data = masked(facts)
    if as_json:
        typer.echo(json.dumps(data))
        return
    typer.echo(f"listens on {facts.server.host}:{facts.server.port}")
    for key in data["keys"]:
        scope = f", scope {key['scope']}" if key["scope"] else ""
        limits = ", ".join(f"{n} {v:g}" for n, v in key["limits"].items()) or "learned"
        typer.echo(f"key {key['id']} of {key['provider']}{scope}; limits: {limits}")
    for name, targets in data["models"].items():
        typer.echo(f"model {name}: {', then '.join(targets)}")
    for client in data["clients"]:
        typer.echo(f"client {client['name']}")
    if not data["clients"]:
        typer.echo("no clients: anybody on this machine may call")
    typer.echo("configuration is valid" + ("" if facts.keys else ", but has no key"))


@app.command()
def version(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Print the version."""
    if as_json:
        typer.echo(json.dumps({"version": __version__, "python": platform.python_version()}))
    else:
        typer.echo(f"apikeyrouter {__version__} (Python {platform.python_version()})")


def _listening_on(facts: RouterConfig, host: str | None, port: int | None) -> RouterConfig:
    changes: dict[str, object] = {}
    if host is not None:
        changes["host"] = host
    if port is not None:
        changes["port"] = port
    return facts.model_copy(update={"server": facts.server.model_copy(update=changes)})
