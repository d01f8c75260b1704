"""The operator that registers workflow and task definitions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.plain import plain_inside, to_plain
from airflow_provider_conductor.client.text import readable
from airflow_provider_conductor.definitions.definition import Definition, check, definitions_in
from airflow_provider_conductor.exceptions import ConductorArgumentRefusedError, ConductorDefinitionRefusedError
from airflow_provider_conductor.links.conductor import DEFINITION_URL_KEY, ConductorDefinitionLink
from airflow_provider_conductor.operators.arguments import given, is_template
from airflow_provider_conductor.operators.base import ConductorOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context


class ConductorRegisterDefinitionsOperator(ConductorOperator):
    """Register workflow and task definitions that differ from the server's.

    Args:
        definitions: one or several of: a definition as a dict or as an object of Conductor's Python SDK; a path of a
            JSON or YAML file, or a glob. Paths are relative to the DAG file, then to the DAG's
            ``template_searchpath``, and must lead to files below these folders. A definition with ``tasks`` is a
            workflow definition, any other a task definition.
        allow_lower_version: register a workflow version below the server's latest, too.
        conductor_conn_id: connection of type ``conductor``.

    Returns ``{"registered": [...], "unchanged": [...]}``, lists of ``workflow NAME VERSION`` and ``task NAME``.

    Raises:
        ConductorDefinitionRefusedError: a definition was refused, here or by the server; nothing was registered.
    """

    template_fields: Sequence[str] = ("conductor_conn_id", "definitions")
    template_fields_renderers: ClassVar[dict[str, str]] = {"definitions": "json"}
    operator_extra_links: Sequence[BaseOperatorLink] = (ConductorDefinitionLink(),)

    def __init__(self, *, definitions: Any, allow_lower_version: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.definitions = [_plain(item) for item in _several(definitions)]
        self.allow_lower_version = allow_lower_version
        known = [item for item in self.definitions if not isinstance(item, str) and not is_template(item)]
        check(definitions_in(known))

    def execute(self, context: Context) -> dict[str, list[str]]:
        from airflow_provider_conductor.definitions.definition import DefinitionError
        from airflow_provider_conductor.definitions.register import register

        run = self._begin(context)
        try:
            definitions = self._read()
            done = self._send(
                register(
                    definitions,
                    log=lambda text: self.log.info("%s", readable(text, 100_000)),
                    warn=lambda text: self.log.warning("%s", readable(text, 100_000)),
                    allow_lower_version=self.allow_lower_version,
                )
            )
        except (DefinitionError, ConductorInputError, ConductorArgumentRefusedError) as error:
            raise ConductorDefinitionRefusedError(str(error)) from None
        for definition in definitions:
            if definition.kind == "workflow":
                url = self.hook.settings.definition_url(definition.name, definition.version)
                run.push(DEFINITION_URL_KEY, url)
                break
        return {"registered": list(done.registered), "unchanged": list(done.unchanged)}

    def _read(self) -> list[Definition]:
        from airflow_provider_conductor.definitions.files import find, read

        found: list[Definition] = []
        paths: dict[Path, None] = {}
        given_now = [_several(item) for item in _several(self.definitions)]  # another task may have returned a list
        for item in (item for several in given_now for item in several):
            if isinstance(item, str) and (documents := _json_in(item)) is not None:
                found += definitions_in(documents)
            elif isinstance(item, (str, Path)):
                paths.update(dict.fromkeys(find(str(item), self._folders())))
            else:
                found += definitions_in(item)
        return found + [item for path in paths for item in read(path)]

    def _folders(self) -> list[Path]:
        """Where paths begin: the DAG file's folder, then the DAG's ``template_searchpath``."""
        dag = self.get_dag()
        if dag is None:
            return [Path.cwd()]
        more = dag.template_searchpath or ()
        return [Path(dag.fileloc).parent, *(Path(path) for path in ([more] if isinstance(more, str) else more))]


def _several(definitions: Any) -> list[Any]:
    listed = isinstance(definitions, Sequence) and not isinstance(definitions, (str, bytes))
    several = list(definitions) if listed else [definitions]
    if not several:
        raise ValueError("definitions must not be empty")
    return [given(item, "one of the definitions") for item in several]


def _json_in(text: str) -> Any:
    """The definitions that a template has rendered as JSON; None for a path."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, (dict, list)) else None


def _plain(item: Any) -> Any:
    """A path as text, a definition as a dict: what Airflow can store in a template field."""
    if isinstance(item, Path):
        return str(item)
    return plain_inside(item) if is_template(item) else to_plain(item)
