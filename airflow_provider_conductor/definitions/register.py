"""Register definitions that differ from the server's, and no others."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import (
    ConductorAnswerError,
    ConductorAuthError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
)
from airflow_provider_conductor.client.flow import Call, Flow, ask
from airflow_provider_conductor.definitions.definition import Definition, DefinitionError, check, with_source
from airflow_provider_conductor.definitions.diff import difference

__all__ = ["Registered", "register"]

UNREADABLE = "JSON parse error"
"""How a server's message begins if a field has a value of the wrong kind; a 500, though a repetition cannot help."""

PLACE = re.compile(r"(?:\(|; |chain: )[\w.]+\[(\d+)\]")
"""In a server's message, the place of a definition in the request: ``(registerTaskDef.arg0[1].ownerEmail: is empty)``,
or, of 3.13.8 when it cannot read a value, ``reference chain: java.util.ArrayList[1]->…``."""


@dataclass(frozen=True, slots=True)
class Registered:
    """Labels of the definitions that were registered, and of those that the server already had."""

    registered: tuple[str, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    wanted: Definition
    present: dict[str, Any] | None


def register(
    definitions: Sequence[Definition],
    *,
    log: Callable[[str], None],
    warn: Callable[[str], None],
    allow_lower_version: bool = False,
) -> Flow[Registered]:
    """Compare, check (here and by the server), register what differs, and read it back.

    Task definitions are sent before workflow definitions. Nothing is registered unless all can be.

    Raises:
        DefinitionError: with everything that is wrong, a version below the server's latest included.
    """
    check(definitions)
    changes = []
    for item in definitions:
        present = yield from _present(item)
        if present is not None and not difference(present, item.data):
            log(f"{item.label} is unchanged")
        else:
            changes.append(_Change(item, present))
    yield from _check_changes(definitions, changes, allow_lower_version=allow_lower_version)
    for change in changes:
        is_new = "is new" if change.present is None else "differs from the server's"
        log(f"{change.wanted.label} {is_new}:\n{difference(change.present, change.wanted.data)}")
    tasks = [change.wanted for change in changes if change.wanted.kind == "task"]
    workflows = [change.wanted for change in changes if change.wanted.kind == "workflow"]
    yield from _send_tasks(tasks)
    yield from _send_workflows(workflows, before=[item.label for item in tasks])
    registered: list[str] = []
    for change in changes:
        registered += [change.wanted.label] if (yield from _has_changed(change, warn)) else []
    unchanged = [item.label for item in definitions if item.label not in registered]
    log(f"{len(registered)} definitions registered, {len(unchanged)} unchanged")
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
        return (yield from ask(call))
    except ConductorNotFoundError:
        return None


def _check_changes(
    definitions: Sequence[Definition], changes: Sequence[_Change], *, allow_lower_version: bool
) -> Flow[None]:
    """Compare versions with the server's, and let the server validate the workflows.

    Raises:
        DefinitionError: with everything that is wrong.
    """
    problems = {} if allow_lower_version else (yield from _lower_versions(definitions, changes))
    for label, problem in (yield from _invalid(changes)).items():
        problems[label] = f"{problems[label]}; {problem}" if label in problems else problem
    if problems:
        sources = {item.label: item.source for item in definitions}
        raise DefinitionError(with_source(sources[label], f"{label}: {problem}") for label, problem in problems.items())


def _lower_versions(definitions: Sequence[Definition], changes: Sequence[_Change]) -> Flow[dict[str, str]]:
    """By label, what is wrong with each changed workflow whose highest given version is below the server's latest.

    Whoever starts the latest version would not get what was registered.
    """
    problems = {}
    for name in dict.fromkeys(change.wanted.name for change in changes if change.wanted.kind == "workflow"):
        highest = max((item for item in definitions if item.name == name), key=lambda item: item.version)
        latest = yield from _found(endpoints.get_workflow_def(name))
        if latest is not None and highest.version < int(latest.get("version") or 1):
            problems[highest.label] = (
                f"version {highest.version} is below the server's latest, {latest['version']}, which is what a start "
                "without a version runs; raise the version, or allow it with allow_lower_version=True"
            )
    return problems


def _invalid(changes: Sequence[_Change]) -> Flow[dict[str, str]]:
    """By label, what the server's own validation refuses of the workflows; a server without one refuses nothing."""
    problems = {}
    for item in (change.wanted for change in changes if change.wanted.kind == "workflow"):
        try:
            yield from ask(endpoints.validate_workflow_def(item.data))
        except ConductorMissingRouteError:
            break
        except ConductorAnswerError as error:
            if error.concerns_server or not error.conclusive:
                raise
            problems[item.label] = f"the server answered: {error.message}"
    return problems


def _send_tasks(tasks: Sequence[Definition]) -> Flow[None]:
    """Register task definitions. A server takes all of them, or refuses all if one is wrong (3.13.8 and 3.32.2)."""
    if tasks:
        try:
            yield from ask(endpoints.register_task_defs([item.data for item in tasks]))
        except ConductorAnswerError as error:
            raise _refused(error, tasks, ()) from error


def _send_workflows(workflows: Sequence[Definition], *, before: Sequence[str]) -> Flow[None]:
    """Register workflow definitions, after those whose labels are ``before``."""
    if not workflows:
        return
    try:
        done = yield from ask(endpoints.register_workflow_defs([item.data for item in workflows]))
    except ConductorAnswerError as error:
        raise _refused(error, workflows, before) from error
    if done is not None and done.errors:
        raise DefinitionError(
            (
                with_source(item.source, f"{item.label}: the server answered: {done.errors[item.name]}")
                for item in workflows
                if item.name in done.errors
            ),
            registered=[*before, *(item.label for item in workflows if item.name not in done.errors)],
        )


def _refused(error: ConductorAnswerError, sent: Sequence[Definition], before: Sequence[str]) -> Exception:
    """The error of a refusal, with the name and file of the definition; a failure of the server as it is.

    The server names the definition by its place in the request; 3.32.2 names none if it cannot read a value.
    """
    if (error.temporary and UNREADABLE not in error.message) or isinstance(
        error, (ConductorAuthError, ConductorMissingRouteError)
    ):
        return error
    places = {int(place) for place in PLACE.findall(error.message)}
    wrong = [item for place, item in enumerate(sent) if place in places] or list(sent)
    if len(wrong) == 1 or places:
        names = [with_source(item.source, f"{item.label}: the server answered: {error.message}") for item in wrong]
    else:
        listed = ", ".join(with_source(item.source, item.label) for item in wrong)
        names = [f"one of {listed}: the server answered: {error.message}"]
    return DefinitionError(names, registered=before)


def _has_changed(change: _Change, warn: Callable[[str], None]) -> Flow[bool]:
    """Whether the server's definition differs from before; ``warn`` receives what the server did not keep."""
    now = yield from _present(change.wanted)
    if now is None:
        raise DefinitionError([f"{change.wanted.label}: the server accepted it, but does not have it"])
    lost = difference(now, change.wanted.data)
    if lost:
        warn(f"{change.wanted.label}: the server does not keep all of it:\n{lost}")
    return change.present is None or bool(difference(change.present, now))
