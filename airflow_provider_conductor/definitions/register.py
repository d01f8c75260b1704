"""Register definitions that differ from the server's, and no others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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

UNREADABLE = "JSON parse error"
"""How a server's message begins if a field has a value of the wrong kind; a 500, though a repetition cannot help."""

PLACE = re.compile(r"(?:\(|; |chain: )[\w.]+\[(\d+)\]")
"""In a server's message, the place of a definition in the request: ``(registerTaskDef.arg0[1].ownerEmail: is empty)``,
or, of 3.13.8 when it cannot read a value, ``reference chain: java.util.ArrayList[1]->…``."""


class Registered(NamedTuple):
    """Labels of the definitions that were registered, and of those that the server already had."""

    registered: list[str]
    unchanged: list[str]


def register(
    definitions: Sequence[Definition],
    *,
    log: Callable[[str], None],
    warn: Callable[[str], None],
    allow_lower_version: bool = False,
) -> Flow[Registered]:
    """Compare, check (here and by the server), register what differs, and read it back.

    Task definitions are sent before workflow definitions. Nothing is registered unless all can be. ``warn`` receives
    what the server did not keep.

    Raises:
        DefinitionError: with everything that is wrong, a version below the server's latest included.
    """
    check(definitions)
    changes: list[tuple[Definition, dict[str, Any] | None, str]] = []
    for item in definitions:
        present = yield from _present(item)
        if changed := difference(present, item.data):
            changes.append((item, present, changed))
        else:
            log(f"{item.label} is unchanged")
    tasks = [item for item, _, _ in changes if item.kind == "task"]
    workflows = [item for item, _, _ in changes if item.kind == "workflow"]
    problems = {} if allow_lower_version else (yield from _lower_versions(definitions, workflows))
    for label, problem in (yield from _invalid(workflows)).items():
        problems[label] = f"{problems[label]}; {problem}" if label in problems else problem
    if problems:
        wrong = [item for item in definitions if item.label in problems]
        raise DefinitionError(_named(item, problems[item.label]) for item in wrong)
    for item, present, changed in changes:
        is_new = "is new" if present is None else "differs from the server's"
        log(f"{item.label} {is_new}:\n{changed}")
    yield from _send(tasks, workflows)
    done = Registered([], [item.label for item in definitions])
    for item, present, _ in changes:
        now = yield from _present(item)
        if now is None:
            raise DefinitionError([f"{item.label}: the server accepted it, but does not have it"])
        if lost := difference(now, item.data):
            warn(f"{item.label}: the server does not keep all of it:\n{lost}")
        if difference(present, now):
            done.registered.append(item.label)
            done.unchanged.remove(item.label)
    log(f"{len(done.registered)} definitions registered, {len(done.unchanged)} unchanged")
    return done


def _named(item: Definition, problem: str) -> str:
    return with_source(item.source, f"{item.label}: {problem}")


def _present(item: Definition) -> Flow[dict[str, Any] | None]:
    """The server's definition of this name and version, or None."""
    if item.kind == "task":
        return (yield from _found(endpoints.get_task_def(item.name)))
    return (yield from _found(endpoints.get_workflow_def(item.name, version=item.version)))


def _found(call: Call[dict[str, Any]]) -> Flow[dict[str, Any] | None]:
    try:
        return (yield from ask(call))
    except ConductorNotFoundError:
        return None


def _lower_versions(definitions: Sequence[Definition], changed: Sequence[Definition]) -> Flow[dict[str, str]]:
    """By label, what is wrong with each changed workflow whose highest given version is below the server's latest.

    Whoever starts the latest version would not get what was registered.
    """
    problems = {}
    for name in dict.fromkeys(item.name for item in changed):
        highest = max((item for item in definitions if item.name == name), key=lambda item: item.version)
        latest = yield from _found(endpoints.get_workflow_def(name))
        if latest is not None and highest.version < int(latest.get("version") or 1):
            problems[highest.label] = (
                f"version {highest.version} is below the server's latest, {latest['version']}, which is what a start "
                "without a version runs; raise the version, or allow it with allow_lower_version=True"
            )
    return problems


def _invalid(changed: Sequence[Definition]) -> Flow[dict[str, str]]:
    """By label, what the server's own validation refuses of the workflows; a server without one refuses nothing."""
    problems = {}
    for item in changed:
        try:
            yield from ask(endpoints.validate_workflow_def(item.data))
        except ConductorMissingRouteError:
            break
        except ConductorAnswerError as error:
            if error.concerns_server or not error.conclusive:
                raise
            problems[item.label] = f"the server answered: {error.message}"
    return problems


def _send(tasks: Sequence[Definition], workflows: Sequence[Definition]) -> Flow[None]:
    """Register them. A server takes all task definitions, or refuses all if one is wrong (3.13.8 and 3.32.2)."""
    done: list[str] = []
    errors: Mapping[str, str] = {}
    sent = tasks
    try:
        if tasks:
            yield from ask(endpoints.register_task_defs([item.data for item in tasks]))
        done, sent = [item.label for item in tasks], workflows
        if workflows:
            result = yield from ask(endpoints.register_workflow_defs([item.data for item in workflows]))
            errors = {} if result is None else result.errors
    except ConductorAnswerError as error:
        # A failure of the server or of the account, not of a definition.
        passing = error.temporary and UNREADABLE not in error.message
        if passing or isinstance(error, (ConductorAuthError, ConductorMissingRouteError)):
            raise
        raise DefinitionError(_refused(error.message, sent), registered=done) from error
    if errors:
        wrong = [_named(item, f"the server answered: {errors[item.name]}") for item in workflows if item.name in errors]
        raise DefinitionError(wrong, registered=[*done, *(item.label for item in workflows if item.name not in errors)])


def _refused(message: str, sent: Sequence[Definition]) -> list[str]:
    """What was refused, by the place in the request that the message has; 3.32.2 has none if it cannot read a value."""
    places = {int(place) for place in PLACE.findall(message)}
    wrong = [item for place, item in enumerate(sent) if place in places] or sent
    if len(wrong) == 1 or places:
        return [_named(item, f"the server answered: {message}") for item in wrong]
    listed = ", ".join(with_source(item.source, item.label) for item in wrong)
    return [f"one of {listed}: the server answered: {message}"]
