"""The body of an answer, decompressed up to a limit.

The transports read the bytes as they come and decompress nothing themselves: 1 kB of gzip can stand for 1 MB, of brotli
for 1 GB, and their libraries decompress a whole chunk before it can be counted.
"""

from __future__ import annotations

import zlib

ACCEPTED = "gzip"
"""The ``Accept-Encoding`` of every request."""

PIECE = 262_144
"""Bytes that are decompressed before they are counted."""


class BodyError(Exception):
    """The body cannot be taken."""


class BodyTooLargeError(BodyError):
    """It has more bytes than the limit."""


class BrokenBodyError(BodyError):
    """It does not match its ``Content-Encoding``, or ends too early."""


class UnknownEncodingError(BodyError):
    """It is compressed in a way that was not asked for."""


class Body:
    """Takes a body chunk by chunk.

    Args:
        encoding: the answer's ``Content-Encoding``.
        limit: bytes, decompressed, that are taken.
        cut: leave off what is over the limit, instead of refusing the body.

    Raises:
        BodyError: the body cannot be taken, from any method.
    """

    def __init__(self, encoding: str, limit: int, *, cut: bool = False) -> None:
        self._limit = limit
        self._cut = cut
        self._content = bytearray()
        self._members = 0
        self._was_cut = False
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise UnknownEncodingError(encoding)
        self._gzip = _gzip() if encoding.endswith("gzip") else None

    def __len__(self) -> int:
        return len(self._content)

    def feed(self, chunk: bytes) -> bool:
        """Take a chunk; False where the body is cut here, and the rest need not be read."""
        if self._gzip is None:
            return self._add(chunk)
        try:
            while chunk:
                if self._gzip.eof:
                    self._gzip, self._members = _gzip(), self._members + 1
                if not self._add(self._gzip.decompress(chunk, PIECE)):
                    return False
                chunk = self._gzip.unused_data if self._gzip.eof else self._gzip.unconsumed_tail
        except zlib.error as error:
            if not self._members:  # else it is padding after a complete body
                raise BrokenBodyError(str(error)) from None
        return True

    def end(self) -> bytes:
        """The whole content."""
        if self._gzip is not None and not self._members and not self._was_cut:
            self._add(self._gzip.flush())  # what it held back: less than a piece, since all input is consumed
            if self._content and not self._gzip.eof:
                raise BrokenBodyError("it ends too early")
        return bytes(self._content)

    def _add(self, content: bytes) -> bool:
        room = self._limit - len(self._content)
        if len(content) > room and not self._cut:
            raise BodyTooLargeError
        self._content += content[:room]
        self._was_cut = len(content) > room
        return not self._was_cut


def _gzip() -> zlib._Decompress:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)
