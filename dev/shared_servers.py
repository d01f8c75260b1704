"""Conductor servers that several test runs share. Standard library only."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dev.conductor_server import ConductorServer, ServerError

__all__ = ["VARIABLE", "ask_for", "sharing_servers"]

VARIABLE = "CONDUCTOR_TEST_SERVERS"
"""The environment variable that tells a test run where to ask for servers."""

# To fetch a server the first time takes minutes.
PATIENCE = 1200


@contextlib.contextmanager
def sharing_servers() -> Iterator[str]:
    """Where processes may ask for servers. Each version is started when the first asks, and ended with the block."""
    with contextlib.ExitStack() as servers:
        running: dict[str, ConductorServer] = {}
        starting = threading.Lock()

        class Asked(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                version = self.path.strip("/")
                try:
                    with starting:
                        if version not in running:
                            running[version] = servers.enter_context(ConductorServer(version))
                    self.answer(200, running[version].url)
                except (ServerError, OSError, ValueError) as error:
                    self.answer(500, str(error))

            def answer(self, status: int, said: str) -> None:
                # Who asked may have been ended while the server started.
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(json.dumps(said).encode())

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Asked) as broker:
            broker.daemon_threads = True
            threading.Thread(target=broker.serve_forever, daemon=True).start()
            try:
                yield f"http://127.0.0.1:{broker.server_port}"
            finally:
                broker.shutdown()
                # One that is being started would not be ended with the others.
                starting.acquire()


def ask_for(version: str, where: str) -> str:
    """The URL of a shared server of this version, which may have to start first."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{where}/{version}", timeout=PATIENCE) as answer:
            url: str = json.loads(answer.read())
            return url
    except urllib.error.HTTPError as error:
        raise ServerError(json.loads(error.read())) from None
