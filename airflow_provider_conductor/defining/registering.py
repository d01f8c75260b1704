"""Registering definitions where they differ from the server's, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.call import Call, Flow
from airflow_provider_conductor.client.errors import (
    ConductorAnswerError,
    ConductorAuthError,
    ConductorNotFound,
    MissingRoute,
)
from airflow_provider_conductor.client.models import BulkResult
from airflow_provider_conductor.defining.comparing import difference
from airflow_provider_conductor.defining.definition import Definition, DefinitionError, check, said

__all__ = ["Registered", "register"]


@dataclass(frozen=True, slots=True)
class Registered:
    """Labels of the definitions that were registered, and of those that the server had so already."""

    registered: tuple[str, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    wanted: Definition
    present: dict[str, Any] | None


def register(
    definitions: Sequence[Definition],
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    allow_lower_version: bool = False,
) -> Flow[Registered]:
    """Compare, check (here and by the server), register what differs, and read it back.

    Task definitions go before workflow definitions. Nothing is registered unless all can be.

    Raises:
        DefinitionError: with everything that is wrong, a version below the server's latest included.
    """
    check(definitions)
    changes = []
    for item in definitions:
        present = yield from _present(item)
        if present is not None and not difference(present, item.data):
            say(f"{item.label}: the server has it so")
        else:
            changes.append(_Change(item, present))
    problems = [] if allow_lower_version else (yield from _lowered(definitions, changes))
    problems += yield from _invalid(changes)
    if problems:
        raise DefinitionError(problems)
    for change in changes:
        is_new = "is new" if change.present is None else "differs from the server's"
        say(f"{change.wanted.label} {is_new}:\n{difference(change.present, change.wanted.data)}")
    yield from _send(changes)
    registered = []
    for change in changes:
        if (yield from _took(change, warn)):
            registered.append(change.wanted.label)
    unchanged = [item.label for item in definitions if item.label not in registered]
    say(f"{len(registered)} definitions registered, {len(unchanged)} unchanged")
    return Registered(tuple(registered), tuple(unchanged))


def _present(item: Definition) -> Flow[dict[str, Any] | None]:
    """The server's definition of this name and version, or None."""
    call: Call[dict[str, Any]] = (
        endpoints.get_task_def(item.name)
        if item.kind == "task"
        else endpoints.get_workflow_def(item.name, version=item.version)
    )
    return (yield from _found(call))


def _found(call: Call[dict[str, Any]]) -> Flow[dict[str, Any] | None]:
    try:
        return (yield call)  # type: ignore[no-any-return]
    except ConductorNotFound:
        return None


def _lowered(definitions: Sequence[Definition], changes: Sequence[_Change]) -> Flow[list[str]]:
    """A line for each changed workflow whose highest version given is below the server's latest.

    Who starts the latest version would not get what was registered.
    """
    problems = []
    for name in dict.fromkeys(change.wanted.name for change in changes if change.wanted.kind == "workflow"):
        highest = max((item for item in definitions if item.name == name), key=lambda item: item.version)
        latest = yield from _found(endpoints.get_workflow_def(name))
        if latest is not None and highest.version < int(latest.get("version") or 1):
            problem = (
                f"workflow {name!r}: version {highest.version} is below the server's latest, {latest['version']}, "
                "which starts without a version run; raise the version, or allow it with allow_lower_version=True"
            )
            problems.append(said(highest.source, problem))
    return problems


def _invalid(changes: Sequence[_Change]) -> Flow[list[str]]:
    """What the server's own validation says of the workflows; a server without one says nothing."""
    problems = []
    for item in (change.wanted for change in changes if change.wanted.kind == "workflow"):
        try:
            yield endpoints.validate_workflow_def(item.data)
        except MissingRoute:
            break
        except ConductorAnswerError as error:
            if isinstance(error, ConductorAuthError) or error.repeatable:
                raise
            problems.append(
                f"{f'{item.source}: ' if item.source else ''}{item.label}: the server says: {error.message}"
            )
    return problems


def _send(changes: Sequence[_Change]) -> Flow[None]:
    tasks = [change.wanted.data for change in changes if change.wanted.kind == "task"]
    if tasks:
        yield endpoints.register_task_defs(tasks)
    workflows = [change.wanted.data for change in changes if change.wanted.kind == "workflow"]
    if workflows:
        done: BulkResult | None = yield endpoints.register_workflow_defs(workflows)
        if done is not None and done.errors:
            raise DefinitionError(f"workflow {name!r}: the server says: {why}" for name, why in done.errors.items())


def _took(change: _Change, warn: Callable[[str], None]) -> Flow[bool]:
    """Whether the server has it otherwise than before; what it did not keep is told."""
    now = yield from _present(change.wanted)
    if now is None:
        raise DefinitionError([f"{change.wanted.label}: the server took it, but does not have it"])
    lost = difference(now, change.wanted.data)
    if lost:
        warn(f"{change.wanted.label}: the server does not keep all of it:\n{lost}")
    return change.present is None or bool(difference(change.present, now))
