"""A folder with a configuration, and in it the command and the service as a user runs them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("apikeyrouter"))
MANAGEMENT_KEY = "management-key-of-the-site"


class Ran:
    """One run of the command."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def data(self) -> Any:
        """What `--json` printed; the command has to have succeeded."""
        assert (self.status, self.err) == (0, ""), self.err
        return json.loads(self.out)

    def __eq__(self, other: object) -> bool:
        return (self.status, self.out, self.err) == other

    def __repr__(self) -> str:
        return repr((self.status, self.out, self.err))


class CommandSite:
    """Where the command is run; nothing of the tests' own environment is in its."""

    def __init__(self, folder: Path, base_url: str, *, store: str = "sqlite:///site.db") -> None:
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "APIKEYROUTER_CONFIG_FILE": "site.yaml",
            "APIKEYROUTER_MANAGEMENT_API_KEY": MANAGEMENT_KEY,
        }
        self.said = ""
        self.configure(
            f"store: {store}\nserver: {{port: 0}}\n"
            f"providers:\n  sim: {{kind: openai, base_url: '{base_url}'}}\n"
        )

    def configure(self, text: str) -> None:
        (self.folder / "site.yaml").write_text(f"version: 1\n{text}")

    def run(self, *arguments: object, stdin: str = "", **env: str) -> Ran:
        """Run the command to its end; a variable that is set to nothing is not there."""
        found = {name: value for name, value in {**self.env, **env}.items() if value}
        done = subprocess.run(
            [COMMAND, *map(str, arguments)], cwd=self.folder, env=found, input=stdin,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        self.said += done.stdout + done.stderr
        return Ran(done)

    @contextmanager
    def serving(self, *arguments: str, kill: bool = False) -> Iterator[str]:
        """Run the service for as long as the block lasts; gives its address."""
        process = subprocess.Popen(
            [COMMAND, "serve", *arguments], cwd=self.folder, env=self.env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        first = process.stdout.readline()
        try:
            assert "listening on " in first, process.communicate()[1]
            yield first.split("listening on ")[1].split()[0]
        finally:
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            out, err = process.communicate(timeout=60)
            self.said += first + out + err
