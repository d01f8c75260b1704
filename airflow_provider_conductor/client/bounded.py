"""Connections whose answers must be complete, head and body, within the read timeout.

A socket's own timeout restarts with every byte, so a slow server could be read from forever.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.poolmanager import PoolManager


class _Deadline(io.RawIOBase):
    """A socket's bytes until ``limit`` seconds from now; after that, a ``TimeoutError``."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, limit: float) -> None:
        self._raw = raw
        self._sock = sock
        self._limit = limit
        self._end = time.monotonic() + limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(self._limit)

    def close(self) -> None:
        self._raw.close()
        super().close()


class BoundedResponse(HTTPResponse):
    """Its time begins when the request has gone out, and is the read timeout the socket then has."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        limit = sock.gettimeout()
        if limit is not None:
            self.fp = io.BufferedReader(_Deadline(self.fp.detach(), sock, limit))


class BoundedAdapter(HTTPAdapter):
    """Requests' adapter, with connections whose answers are bounded.

    Args:
        check: gets each new connection's socket, and may refuse it by an exception.
    """

    def __init__(self, check: Callable[[socket.socket], None] = lambda sock: None, **kwargs: Any) -> None:
        class Plain(HTTPConnection):
            response_class = BoundedResponse

            def _new_conn(self) -> socket.socket:
                connection = super()._new_conn()
                check(connection)
                return connection

        class Encrypted(Plain, HTTPSConnection):
            """A plain one by its answers and its socket, and one with TLS by all else."""

        self._pools = {
            "http": type("_HTTPPool", (HTTPConnectionPool,), {"ConnectionCls": Plain}),
            "https": type("_HTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": Encrypted}),
        }
        super().__init__(max_retries=0, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> PoolManager:
        manager: PoolManager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager
