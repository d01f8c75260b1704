"""A TCP proxy before a server, which can be switched to fail: refuse, answer 401 to everything, or hang."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Literal

__all__ = ["Mode", "Switch"]

Mode = Literal["pass", "dead", "401", "hang"]

BODY = b'{"message": "token expired", "error": "EXPIRED_TOKEN"}'
REFUSAL = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


class Switch:
    """Forwards to ``port`` until it is switched; a switch cuts the connections that are open."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._mode: Mode = "pass"
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> Switch:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._cut(close=True))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def to(self, mode: Mode) -> None:
        """Behave so from now on."""
        was, self._mode = self._mode, mode
        self._call(self._cut(close=mode == "dead"))
        if was == "dead" and mode != "dead":
            self._call(self._listen())

    def _call(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)  # type: ignore[arg-type]

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self, *, close: bool) -> None:
        if close:
            self._server.close()
        for writer in list(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self._mode == "pass":
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
                self._open.add(far_writer)
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
                self._open.discard(far_writer)
            while data := await reader.read(65536):
                if self._mode == "401" and b"\r\n\r\n" in data:
                    writer.write(REFUSAL)
                    await writer.drain()
        except OSError:
            pass
        finally:
            self._open.discard(writer)
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
