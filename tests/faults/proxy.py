"""A TCP proxy in front of a real server that loses, delays and cuts what goes through it, as told.

It reads one request at a time (head, and a body by ``Content-Length``), asks ``choose`` what becomes of it, and counts
what it did by kind.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO

__all__ = [
    "FaultProxy",
    "Kind",
    "Passing",
    "cut_after",
    "cut_before",
    "cut_in_answer",
    "every_kind",
    "fine",
    "late",
    "late_index",
    "unavailable",
]

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Passing:
    """One request on its way: ``forward`` sends it to the server and returns the whole answer's bytes."""

    head: bytes
    body: bytes
    client: socket.socket
    upstream: tuple[str, int]

    @property
    def line(self) -> str:
        """``POST /api/workflow``"""
        method, target = self.head.split(b" ", 2)[:2]
        return f"{method.decode()} {target.decode().partition('?')[0]}"

    def forward(self) -> bytes:
        with socket.create_connection(self.upstream, timeout=60) as server:
            head = self.head.replace(b"Connection: keep-alive", b"Connection: close")
            if b"\r\nconnection: close" not in head.lower():  # aiohttp leaves out what HTTP/1.1 takes for granted
                head = head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
            server.sendall(head + self.body)
            return b"".join(iter(lambda: server.recv(65536), b""))

    def reset(self) -> None:
        """Close with a RST, as a crashed peer or a firewall does."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()


Kind = Callable[[Passing], None]


def fine(passing: Passing) -> None:
    passing.client.sendall(passing.forward())


def cut_before(passing: Passing) -> None:
    """The server never hears of it."""
    passing.reset()


def cut_after(passing: Passing) -> None:
    """The server carries it out; nobody hears of that."""
    passing.forward()
    passing.reset()


def cut_in_answer(size: int | None = None) -> Kind:
    """The answer breaks off after ``size`` bytes, or in its middle."""

    def kind(passing: Passing) -> None:
        answer = passing.forward()
        passing.client.sendall(answer[: len(answer) // 2 if size is None else size])
        passing.client.shutdown(socket.SHUT_RDWR)
        passing.client.close()

    kind.__name__ = "cut_in_answer"
    return kind


def unavailable(*, before: bool) -> Kind:
    """A gateway answers 503, before it has passed the request on, or after."""

    def kind(passing: Passing) -> None:
        if not before:
            passing.forward()
        passing.client.sendall(UNAVAILABLE)
        passing.client.close()

    kind.__name__ = f"unavailable_{'before' if before else 'after'}"
    return kind


def late(seconds: float, *, request: bool) -> Kind:
    """The request, or the answer, takes longer than the client waits."""

    def kind(passing: Passing) -> None:
        if request:
            time.sleep(seconds)
        answer = passing.forward()
        if not request:
            time.sleep(seconds)
        with contextlib.suppress(OSError):
            passing.client.sendall(answer)
        passing.client.close()

    kind.__name__ = f"late_{'request' if request else 'answer'}"
    return kind


def every_kind(read_timeout: float) -> tuple[Kind, ...]:
    """Each way in which a request or its answer is lost; ``read_timeout`` in seconds, of the client."""
    return (
        cut_before,
        cut_after,
        cut_in_answer(),
        unavailable(before=True),
        unavailable(before=False),
        late(read_timeout + 1, request=True),
        late(read_timeout + 1, request=False),
    )


def late_index(lag: Callable[[str], float]) -> Kind:
    """A search does not find a workflow until so many seconds, by its id, after its last change."""

    def kind(passing: Passing) -> None:
        answer = passing.forward()
        if passing.line == "GET /api/workflow/search":
            answer = _without_newest(answer, lag)
        passing.client.sendall(answer)

    kind.__name__ = "late_index"
    return kind


class _Received:
    """What ``HTTPResponse`` needs of a socket."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, mode: str) -> BinaryIO:
        return io.BytesIO(self._answer)


def _without_newest(answer: bytes, lag: Callable[[str], float]) -> bytes:
    response = http.client.HTTPResponse(_Received(answer))  # type: ignore[arg-type]
    response.begin()
    found = json.loads(response.read())
    found["results"] = [
        each
        for each in found["results"]
        if datetime.fromisoformat(each["updateTime"]).timestamp() <= time.time() - lag(each["workflowId"])
    ]
    body = json.dumps(found).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Date: {response.headers['Date']}\r\nConnection: close\r\n\r\n".encode() + body


@dataclass
class FaultProxy:
    """Listens on the loopback address until :meth:`stop`.

    ``choose`` is asked for each request (``POST /api/workflow``) and may be replaced at any time.
    """

    upstream_url: str
    choose: Callable[[str], Kind] = lambda line: fine
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        host, _, port = self.upstream_url.removeprefix("http://").partition("/")[0].partition(":")
        self._upstream = (host, int(port))
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while client.fileno() >= 0:
                with client.makefile("rb") as stream:
                    request = _read_request(stream)
                if request is None:
                    return
                passing = Passing(*request, client, self._upstream)
                kind = self.choose(passing.line)
                with self._lock:
                    self.counts[f"{kind.__name__}{'' if kind is fine else ' ' + _what(passing.line)}"] += 1
                kind(passing)


def _what(line: str) -> str:
    return "start" if line == "POST /api/workflow" else "other"


def _read_request(stream: BinaryIO) -> tuple[bytes, bytes] | None:
    """Head and body; None where the client has closed the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        head += line
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return head, stream.read(int(length[1]) if length else 0)
