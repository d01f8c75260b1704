"""Text stays text where a DAG renders its templates to Python objects (``render_template_as_native_obj``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.submission.start_arguments import as_text

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context
    from jinja2 import Environment
else:
    BaseOperator = object  # a mixin: Airflow's metaclass would give it an __init__, which cuts off those after it

TEXTS = frozenset(
    {
        *("conductor_conn_id", "workflow_id", "workflow_name", "correlation_id", "query", "reason", "status"),
        *("wait_until_task_ref", "task_reference_name", "conductor_task_id", "expected_status", "from_task_ref"),
        *("task_ref", "task_to_domain", "output_path", "item_key", "result_path", "subject", "body"),
    }
)
"""Templated arguments that are texts to the server, or lists or mappings of texts."""

TEXTS_OF_A_REQUEST = ("name", "correlationId", "createdBy", "taskToDomain", "externalInputPayloadStoragePath")


class TextRenderingMixin(BaseOperator):
    """Renders an operator's texts as texts, mapped or not.

    Natively rendered, ``{{ ds_nodash }}`` is the number 20260102, and ``1e3`` in a name is 1000.0: the server then
    finds nothing under it, or something else. What a template makes of None stays None, and a list stays a list.
    """

    if TYPE_CHECKING:
        request: Any

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Context, jinja_env: Environment, seen_oids: set[int]
    ) -> None:
        """Airflow's own way to render, of 2.11 and 3, which mapped and unmapped operators come through."""
        fields = list(template_fields)
        names = [name for name in fields if parent is self and name in TEXTS and not callable(getattr(self, name))]
        rest = [name for name in fields if name not in names]
        request = getattr(self, "request", None) if "request" in rest else None
        render = self._text_renderer(context, jinja_env, seen_oids)
        if render is None:
            super()._do_render_template_fields(parent, fields, context, jinja_env, seen_oids)
        else:
            super()._do_render_template_fields(parent, rest, context, jinja_env, seen_oids)
            for name in names:
                setattr(self, name, render(getattr(self, name)))
            if isinstance(request, Mapping) and isinstance(getattr(self, "request", None), Mapping):
                texts = {name: render(request[name]) for name in TEXTS_OF_A_REQUEST if name in request}
                self.request = {**self.request, **texts}
        for name in names:
            setattr(self, name, as_text(getattr(self, name)))

    def _text_renderer(
        self, context: Context, jinja_env: Environment, seen_oids: set[int]
    ) -> Callable[[Any], Any] | None:
        """What renders a template to text, or to None or a list; None where Airflow itself renders to text."""
        from jinja2.nativetypes import NativeEnvironment

        from airflow_provider_conductor._airflow import rendered_to_text

        if not isinstance(jinja_env, NativeEnvironment):
            return None
        dag = self.get_dag()
        as_texts = None if dag is None else dag.get_template_env(force_sandboxed=True)

        def render(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {key: render(item) for key, item in value.items()}
            if isinstance(value, (list, tuple)):
                return [render(item) for item in value]
            rendered = self.render_template(value, context, jinja_env, seen_oids)
            several = isinstance(rendered, (Sequence, Mapping)) and not isinstance(rendered, (str, bytes))
            if isinstance(value, str) and rendered is not None and not several and as_texts:
                return rendered_to_text(as_texts.from_string(value), context)
            return as_text(rendered)

        return render
