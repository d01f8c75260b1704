"""One request and its answer as plain data, and conversations made of them.

A ``Call`` holds what to send and how to read the answer; the transports (``sync``, ``aio``) send it. A ``Flow`` is a
generator that needs several requests in turn (a fallback for an old server, a start that must not happen twice, a
wait). It is written once, and a blocking client, an event loop or a test drives it::

    def pause_and_read(workflow_id: str) -> Flow[Workflow]:
        yield from ask(endpoints.pause_workflow(workflow_id))
        yield from sleep(0.5)
        return (yield from ask(endpoints.get_workflow(workflow_id)))

:func:`ask`, :func:`sleep` and :func:`current_time` yield to the driver, so what a flow gets back has a type. A
wait also yields its pauses (:mod:`~airflow_provider_conductor.polling.poll_pause`), to the poller that drives it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Generic, TypeAlias, TypeVar

S = TypeVar("S")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

UNREAD: Any = object()

MAX_ANSWER_BYTES = 128 * 1024 * 1024
"""Bytes of one answer that are read, after decompression. A stock server keeps no input or output over 10 MiB."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: ``headers`` with lower-case names, ``content`` complete and decompressed."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    read: Any = UNREAD
    """The content as JSON, where the transport has read it already."""

    def json(self) -> Any:
        """The content as JSON; ``ValueError`` where it is none."""
        return json.loads(self.content) if self.read is UNREAD else self.read

    @property
    def server_time(self) -> int:
        """The server's clock in ms (``Date`` header, so whole seconds), or 0 if unknown."""
        try:
            return max(0, int(parsedate_to_datetime(self.headers["date"]).timestamp() * 1000))
        except (KeyError, ValueError, TypeError, OverflowError):
            return 0

    @property
    def retry_after(self) -> float | None:
        """Seconds of a ``Retry-After`` header (number or date), or None."""
        value = self.headers.get("retry-after", "").strip()
        if value.isdecimal() and len(value) < 20:
            return float(value)
        try:
            wanted = parsedate_to_datetime(value).timestamp()
        except (ValueError, TypeError, OverflowError):
            return None
        return max(0.0, wanted - self.server_time / 1000) if self.server_time else None


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request, not yet sent.

    Attributes:
        method: HTTP method.
        path: below the API's address, each part quoted, beginning with ``/``.
        parse: reads the answer's value; raises ``ValueError`` where it is not one Conductor gives.
        params: query parameters, values as text.
        body: JSON, or None for no body.
        safe_to_repeat: True when a second sending does no more than the first.
        hold: seconds the server may keep the request before it answers.
        authenticated: False only for the request that fetches the token.
        once: True if the caller repeats the call itself, at its own pace.
        max_bytes: the largest answer that is read, in bytes after decompression; a larger one is an error.
        within: seconds for the complete answer, if the caller has less time than the read timeout.
        template: the path without what differs from workflow to workflow, where that is not ``path`` itself.
    """

    method: str
    path: str
    parse: Callable[[Answer], T_co]
    params: tuple[tuple[str, str], ...] = ()
    body: Any = None
    safe_to_repeat: bool = False
    hold: float = 0.0
    authenticated: bool = True
    once: bool = False
    max_bytes: int = MAX_ANSWER_BYTES
    within: float | None = None
    template: str = ""

    @property
    def route(self) -> str:
        """Method and path without what differs from workflow to workflow."""
        return f"{self.method} {self.template or self.path}"


@dataclass(frozen=True, slots=True)
class Sleep:
    """Asks the driver to let ``seconds`` pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Now:
    """Asks the driver for the time: seconds since the epoch, on this machine's clock as it was when the flow began.

    From then on the monotonic clock advances it: setting the wall clock does not affect a running flow.
    """


Step: TypeAlias = Call[Any] | Sleep | Now

Flow: TypeAlias = Generator[Step, Any, T]
"""Yields steps to its driver and returns its own result."""


def ask(call: Call[T]) -> Flow[T]:
    """Send one request.

    Returns:
        The answer's value, as the call's ``parse`` reads it.

    Raises:
        ConductorRequestError: the request failed.
    """
    answer: T = yield call
    return answer


def sleep(seconds: float) -> Flow[None]:
    """Let ``seconds`` pass."""
    yield Sleep(seconds)


def current_time() -> Flow[float]:
    """Seconds since the epoch; see :class:`Now`."""
    now: float = yield Now()
    return now


def steady(clock: Callable[[], float], monotonic: Callable[[], float]) -> Callable[[], float]:
    """A clock that starts at the wall clock's time and is advanced by the monotonic clock, so that it is never set."""
    ahead = clock() - monotonic()
    return lambda: monotonic() + ahead


class Steps(Generic[S, T]):
    """The steps of a flow, for a loop that does them; ``result`` is what the flow returns.

    ::

        for step in (steps := Steps(flow)):
            with steps:
                steps.reply = do(step)

    The reply goes to the flow, and so does an exception within ``with``. What is no ``Exception`` (an interrupt, a
    cancellation) is not for the flow to handle: it propagates, and the flow is closed.
    """

    result: T

    def __init__(self, flow: Generator[S, Any, T]) -> None:
        self.reply: Any = None
        self._flow = flow
        self._error: Exception | None = None

    def __iter__(self) -> Steps[S, T]:
        return self

    def __next__(self) -> S:
        reply, error, self.reply, self._error = self.reply, self._error, None, None
        try:
            return self._flow.send(reply) if error is None else self._flow.throw(error)
        except StopIteration as end:
            self.result = end.value
            raise

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self._error = error
            return True
        if error is not None:
            self._flow.close()
        return False


def drive(flow: Generator[S, Any, T], do: Callable[[S], Any]) -> T:
    """Do each step of a flow, and return what the flow returns."""
    for step in (steps := Steps(flow)):
        with steps:
            steps.reply = do(step)
    return steps.result


async def drive_async(flow: Generator[S, Any, T], do: Callable[[S], Awaitable[Any]]) -> T:
    """The same in an event loop."""
    for step in (steps := Steps(flow)):
        with steps:
            steps.reply = await do(step)
    return steps.result
