"""How much of an answer is read: what it has after decompression counts."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorNotFoundError, ConductorServerError, NotConductorError, endpoints
from airflow_provider_conductor.client.body import Body, BodyTooLargeError, BrokenBodyError, UnknownEncodingError
from airflow_provider_conductor.client.wire import MAX_ERROR_BYTES
from tests.client import fault_server as faults
from tests.client.fault_server import Behaviour, Exchange
from tests.client.transports import Meet

LIMIT = 1_000_000
READ = replace(endpoints.get_workflow("w1"), max_bytes=LIMIT)


def whole(size: int) -> bytes:
    """The JSON of a workflow, of this many bytes."""
    empty = json.dumps({"workflowId": "w1", "status": "RUNNING", "output": {"a": ""}})
    return json.dumps({"workflowId": "w1", "status": "RUNNING", "output": {"a": "x" * (size - len(empty))}}).encode()


def packed(content: bytes) -> Behaviour:
    return faults.status(200, gzip.compress(content), content_encoding="gzip")


def endless(encoding: str) -> Behaviour:
    """Sends as long as somebody reads; 1 kB of it is 1 MB."""

    def play(exchange: Exchange) -> None:
        exchange.keep_alive = False
        exchange.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n"
            + f"content-encoding: {encoding}\r\n\r\n".encode()
        )
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        while not exchange.stopped.is_set():
            content = b"x" * 65_536
            content = packer.compress(content) + packer.flush(zlib.Z_SYNC_FLUSH) if encoding == "gzip" else content
            exchange.send(b"%x\r\n%s\r\n" % (len(content), content))

    return play


@pytest.mark.parametrize("answer", [lambda content: faults.status(200, content), packed])
def test_an_answer_up_to_the_limit_is_read_and_none_above(meet: Meet, answer: Callable[[bytes], Behaviour]) -> None:
    client, server = meet(faults.in_turn(answer(whole(LIMIT)), answer(whole(LIMIT + 1))))
    assert client.send(READ).workflow_id == "w1"
    with pytest.raises(NotConductorError, match="more than 1,000,000 bytes, which is the limit"):
        client.send(READ)
    assert len(server.requests) == 2, "it is not sent again"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_endless_answer_is_given_up_at_the_limit(meet: Meet, encoding: str) -> None:
    with pytest.raises(NotConductorError, match="more than 1,000,000 bytes"):
        meet(endless(encoding))[0].send(READ)


def test_of_an_error_only_the_beginning_is_read(meet: Meet) -> None:
    page = b"<html>" + b"x" * 50_000_000
    client, _ = meet(faults.status(500, gzip.compress(page), content_encoding="gzip"))
    with pytest.raises(ConductorServerError, match="no message"):
        client.send(endpoints.get_workflow("w1"))


def test_an_error_of_conductors_may_be_long(meet: Meet) -> None:
    client, _ = meet(faults.error(404, "No such workflow found by id: w1 " + "x" * (MAX_ERROR_BYTES - 1_000)))
    with pytest.raises(ConductorNotFoundError):
        client.send(READ)


def test_only_gzip_is_asked_for_and_nothing_else_read(meet: Meet) -> None:
    client, server = meet(
        faults.status(200, b"\x0b\x02\x80{}\x03", content_encoding="br"),
        headers={"accept-encoding": "br, zstd"},
        max_attempts=1,
    )
    with pytest.raises(NotConductorError, match="compressed by 'br', and gzip was asked for"):
        client.send(READ)
    assert server.requests[0].headers["accept-encoding"] == "gzip"


def test_a_connection_is_kept_after_an_answer_of_any_size(meet: Meet) -> None:
    client, server = meet(
        faults.in_turn(packed(whole(900_000)), faults.error(404, "No such workflow"), faults.workflow())
    )
    client.send(READ)
    with pytest.raises(ConductorNotFoundError):
        client.send(READ)
    client.send(READ)
    assert server.connections == 1


def taken(chunks: list[bytes], encoding: str = "gzip", limit: int = 1_000, **how: Any) -> bytes:
    body = Body(encoding, limit, **how)
    for chunk in chunks:
        if not body.feed(chunk):
            break
    return body.end()


CONTENT = bytes(range(256)) * 3
PACKED = gzip.compress(CONTENT)


@pytest.mark.parametrize(
    "chunks",
    [
        [PACKED],
        [PACKED[i : i + 1] for i in range(len(PACKED))],
        [gzip.compress(CONTENT[:300]) + gzip.compress(CONTENT[300:])],
        [gzip.compress(CONTENT[:300]), gzip.compress(CONTENT[300:])],
        [PACKED + b"\0" * 20],
    ],
    ids=["whole", "byte by byte", "two members", "two members in two chunks", "padded"],
)
def test_gzip_is_read_however_it_comes(chunks: list[bytes]) -> None:
    assert taken(chunks) == CONTENT


@pytest.mark.parametrize(("encoding", "chunks"), [("", []), ("identity", [b"a", b"b"]), ("gzip", []), ("X-GZIP", [])])
def test_a_body_without_content_is_empty(encoding: str, chunks: list[bytes]) -> None:
    assert taken(chunks, encoding) == b"".join(chunks)


@pytest.mark.parametrize("chunks", [[b"not gzip at all"], [PACKED[:-9]], [PACKED[:40]]])
def test_gzip_that_is_broken_or_ends_too_early_is_no_body(chunks: list[bytes]) -> None:
    with pytest.raises(BrokenBodyError):
        taken(chunks)


def test_a_cut_body_ends_at_the_limit() -> None:
    assert taken([PACKED], limit=100, cut=True) == CONTENT[:100]
    assert taken([CONTENT], "", limit=100, cut=True) == CONTENT[:100]
    with pytest.raises(BodyTooLargeError):
        taken([PACKED], limit=100)


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, br"])
def test_another_compression_is_not_read(encoding: str) -> None:
    with pytest.raises(UnknownEncodingError):
        Body(encoding, 1_000)
