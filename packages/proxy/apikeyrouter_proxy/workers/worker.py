"""One of several processes that serve the same socket; started by the supervisor alone.

It reports on a pipe once, that it serves or why it cannot, and stops when its input ends:
whoever started it is gone then.
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
from typing import TextIO

from apikeyrouter import ConfigurationError
from apikeyrouter_proxy.serving import server_for
from apikeyrouter_proxy.settings import ProxySettings
from apikeyrouter_proxy.workers.plan import ServePlan


def main() -> int:
    """Serve until a signal; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listener", type=int, required=True, help="descriptor of the socket")
    parser.add_argument("--report", type=int, required=True, help="descriptor of the pipe")
    parser.add_argument("plan")
    asked = parser.parse_args()
    plan = ServePlan.decoded(asked.plan)
    with socket.socket(fileno=asked.listener) as listener, os.fdopen(asked.report, "w") as report:
        try:
            facts = plan.checked()
            server = server_for(
                plan.app(facts),
                host=facts.server.host,
                port=facts.server.port,
                patience_s=ProxySettings().shutdown_timeout_seconds,
                on_started=lambda: _tell(report, keys=len(facts.keys)),
            )
            threading.Thread(target=_stop_when_alone, daemon=True).start()
            server.run(sockets=[listener])
        except ConfigurationError as error:
            _tell(report, error=str(error))
            return 1
    return 0


def _tell(report: TextIO, **facts: object) -> None:
    if not report.closed:
        report.write(json.dumps(facts) + "\n")
        report.close()


def _stop_when_alone() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
