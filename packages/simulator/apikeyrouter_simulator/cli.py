"""`apikeyrouter-simulator`: simulated providers alone."""

import sys
from typing import Annotated

import typer

from apikeyrouter_simulator import library
from apikeyrouter_simulator.app import create_app
from apikeyrouter_simulator.running import server_for
from apikeyrouter_simulator.source import ScenarioError

app = typer.Typer(add_completion=False)


@app.command()
def run(
    scenario: Annotated[
        str, typer.Option(help="Name of a scenario of the package (see `--list`), or a YAML file.")
    ] = "demo",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 4100,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    list_: Annotated[
        bool, typer.Option("--list", help="Print the scenarios of the package and stop.")
    ] = False,
) -> None:
    """Run simulated LLM providers until interrupted."""
    if list_:
        for name in library.names():
            typer.echo(f"{name:24} {library.summary_of(name)}")
        return
    try:
        world = library.find(scenario)
    except ScenarioError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    server = server_for(create_app(world), log_level="error")
    server.config.host, server.config.port = host, port
    listener = server.config.bind_socket()
    # Clients that come before the server is up wait in the backlog.
    listener.listen(server.config.backlog)
    port = listener.getsockname()[1]
    typer.echo(f"simulator listening on http://{host}:{port}")
    sys.stdout.flush()
    server.run(sockets=[listener])
