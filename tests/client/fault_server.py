"""A real server on a loopback port that answers as told: well, badly, slowly, half, or not at all.

A behaviour is a function of an ``Exchange`` (the request as it arrived, and the socket). A server plays one
behaviour a request, in order, and the last one forever.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

BEAT = 0.05
"""Seconds between the bytes of a slow answer."""


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Exchange:
    request: Request
    socket: socket.socket
    stopped: threading.Event
    keep_alive: bool = True

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def drip(self, content: bytes) -> None:
        for byte in content:
            self.send(bytes([byte]))
            if self.stopped.wait(BEAT):
                return


Behaviour = Callable[[Exchange], None]


@dataclass
class FaultServer:
    """Listens until :meth:`stop`; ``requests`` holds what arrived, ``connections`` how often somebody connected.

    ``most_open`` is how many connections were open at the same time.

    With ``down=True`` the port is taken but refuses, until :meth:`listen`.
    """

    behaviour: Behaviour
    tls: ssl.SSLContext | None = None
    down: bool = False
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    most_open: int = 0

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        if not self.down:
            self.listen()

    def listen(self) -> None:
        self._listener.listen(64)
        self._acceptor.start()

    @property
    def api_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/api"

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._open)

    def sent_to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == f"/api{path}"]

    def close_idle(self) -> None:
        """Close every connection, as a server does with those that were idle for too long."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.close_idle()
        if self._acceptor.is_alive():
            self._acceptor.join(5)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
                self.most_open = max(self.most_open, len(self._open))
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        plain = connection
        try:
            with contextlib.suppress(OSError, EOFError):
                if self.tls:
                    connection = _shake_hands(self.tls, connection)
                elif connection.recv(1, socket.MSG_PEEK) == b"\x16":
                    connection.sendall(b"HTTP/1.1 400 This port does not speak TLS\r\n\r\n")
                    raise EOFError
                with connection, connection.makefile("rb") as lines:
                    keep_alive = True
                    while keep_alive:
                        request = _read_request(lines)
                        with self._lock:
                            self.requests.append(request)
                        exchange = Exchange(request, connection, self._stopped)
                        self.behaviour(exchange)
                        keep_alive = exchange.keep_alive
        finally:
            plain.close()
            with self._lock:
                self._open.discard(plain)


def _shake_hands(tls: ssl.SSLContext, connection: socket.socket) -> ssl.SSLSocket:
    """Wait for the client to read the alert of a handshake that failed: closing at once resets the connection."""
    with connection.dup() as raw:
        try:
            return tls.wrap_socket(connection, server_side=True)
        except ssl.SSLError:
            raw.settimeout(1)
            while raw.recv(1 << 16):
                pass
            raise


def _read_request(lines: Any) -> Request:
    first = lines.readline()
    if not first.strip():
        raise EOFError
    method, target, _ = first.decode("latin-1").split(" ", 2)
    headers = {}
    while (line := lines.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(method, target, headers, lines.read(int(headers.get("content-length", 0))))


# Arranging behaviours


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The first for the first request, and so on; the last for all that follow."""
    waiting = list(behaviours)
    lock = threading.Lock()

    def play(exchange: Exchange) -> None:
        with lock:
            behaviour = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        behaviour(exchange)

    return play


def by_path(**behaviours: Behaviour) -> Behaviour:
    """By the first part of the path below ``/api``; ``rest`` for all others, a workflow by default."""

    def play(exchange: Exchange) -> None:
        name = exchange.request.path.removeprefix("/api/").split("/")[0]
        behaviours.get(name, behaviours.get("rest", workflow()))(exchange)

    return play


# Good answers


def raw(content: bytes, *, keep_alive: bool = False) -> Behaviour:
    """These very bytes."""

    def play(exchange: Exchange) -> None:
        exchange.keep_alive = keep_alive
        exchange.send(content)

    return play


def head(code: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {code} Told", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status(code: int, body: Any = None, **headers: str) -> Behaviour:
    """An answer with this status; ``body`` is bytes, or becomes JSON."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return raw(
        head(code, {"content-type": "application/json"} | named | {"content-length": str(len(content))}) + content,
        keep_alive=True,
    )


def error(code: int, message: str | None, *, retryable: bool = False, **headers: str) -> Behaviour:
    """An error in Conductor's own words (3.13.8 and 3.32.2)."""
    body = {"status": code, "message": message, "instance": "conductor-1", "retryable": retryable}
    return status(code, body, **headers)


def no_route(exchange: Exchange) -> None:
    """What 3.13.8 answers where it has no such endpoint."""
    when = "2026-11-26T10:48:18.267+00:00"
    status(404, {"timestamp": when, "status": 404, "error": "Not Found", "path": exchange.request.path})(exchange)


def orkes_token_refused(code: int = 401) -> Behaviour:
    """What Orkes answers to a token that it does not take."""
    body = {"message": "Token is invalid or has expired", "error": "INVALID_TOKEN", "timestamp": 1656058235313}
    return status(code, body)


def json_answer(body: Any, **headers: str) -> Behaviour:
    return status(200, body, **headers)


def text(content: str) -> Behaviour:
    return status(200, content.encode(), content_type="text/plain")


def workflow(workflow_id: str = "w1", state: str = "RUNNING", **fields: Any) -> Behaviour:
    return json_answer({"workflowId": workflow_id, "status": state} | fields)


def token(*values: str) -> Behaviour:
    """One token after the other."""
    return in_turn(*(json_answer({"token": value}) for value in values))


def gzipped(body: Any) -> Behaviour:
    return status(200, gzip.compress(json.dumps(body).encode()), content_encoding="gzip")


# Bad answers


def html(code: int = 200) -> Behaviour:
    return status(code, b"<!DOCTYPE html><html><body>Welcome to nginx!</body></html>", content_type="text/html")


def garbage(exchange: Exchange) -> None:
    """What a server that does not speak HTTP answers."""
    exchange.keep_alive = False
    exchange.send(b"\x00\x15\x03\x01SSH-2.0-OpenSSH_9.6\r\n\r\n")


def silent(exchange: Exchange) -> None:
    """Take the request and say nothing."""
    exchange.keep_alive = False
    exchange.stopped.wait(5)


def drop(exchange: Exchange) -> None:
    """Close without a word."""
    exchange.keep_alive = False
    with contextlib.suppress(OSError):
        exchange.socket.shutdown(socket.SHUT_RDWR)


def reset(after: bytes = b"") -> Behaviour:
    """Send ``after``, then a TCP reset."""

    def play(exchange: Exchange) -> None:
        exchange.keep_alive = False
        if after:
            exchange.send(after)
        exchange.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # A reader still holds the socket; only a descriptor that is really closed sends the reset.
        socket.close(exchange.socket.detach())

    return play


def slow_head(exchange: Exchange) -> None:
    """A good answer whose head takes seconds, though never long between two bytes."""
    content = json.dumps({"workflowId": "w1", "status": "RUNNING"}).encode()
    exchange.drip(head(200, {"content-type": "application/json", "content-length": str(len(content))}))
    exchange.send(content)


def slow_body(exchange: Exchange) -> None:
    """A good answer whose body takes seconds, though never long between two bytes."""
    content = json.dumps({"workflowId": "w1", "status": "RUNNING", "input": {"padding": "x" * 40}}).encode()
    exchange.send(head(200, {"content-type": "application/json", "content-length": str(len(content))}))
    exchange.drip(content)


# A proxy


def tunnel(exchange: Exchange) -> None:
    """What a proxy does with CONNECT: carry bytes to that host and back."""
    exchange.keep_alive = False
    host, _, port = exchange.request.target.rpartition(":")
    with socket.create_connection((host, int(port))) as there:
        exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_carry, args=(there, exchange.socket), daemon=True)
        back.start()
        _carry(exchange.socket, there)
        back.join(5)


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(1 << 16):
            target.sendall(content)
        target.shutdown(socket.SHUT_RDWR)
