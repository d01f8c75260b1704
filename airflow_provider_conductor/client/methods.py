"""The operations of the API as methods of both clients, each made from the function that describes its request."""

from __future__ import annotations

import functools
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from airflow_provider_conductor.client import endpoints, flows
from airflow_provider_conductor.client.flow import Call, Flow
from airflow_provider_conductor.client.flows import Capabilities

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Method(Protocol[P, T_co]):
    """What type checkers see of a method: the endpoint's parameters, and its value or a coroutine of it."""

    @overload
    def __get__(self, client: None, owner: type[Any]) -> Callable[Concatenate[Any, P], Any]: ...
    @overload
    def __get__(self, client: BlockingMethods, owner: type[Any]) -> Callable[P, T_co]: ...
    @overload
    def __get__(self, client: AsyncMethods, owner: type[Any]) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


def verb(endpoint: Callable[P, Call[T]]) -> Method[P, T]:
    """A method that sends the endpoint's request."""

    def send(client: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        return client.send(endpoint(*args, **kwargs))

    return cast(Method[P, T], _named(send, endpoint, 0))


def flow_verb(flow: Callable[Concatenate[Capabilities, P], Flow[T]]) -> Method[P, T]:
    """A method that runs a flow, which takes what the client knows of its server as the first argument."""

    def run(client: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        return client.run(flow(client.capabilities, *args, **kwargs))

    return cast(Method[P, T], _named(run, flow, 1))


def _named(method: Callable[..., Any], function: Callable[..., Any], own: int) -> object:
    """The method with the function's name, docstring and signature, for editors, ``help()`` and the API reference."""
    signature = inspect.signature(function)
    returned = re.sub(r"^(?:Call|Flow)\[(.*)\]$", r"\1", signature.return_annotation)
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [client, *list(signature.parameters.values())[own:]]
    functools.update_wrapper(method, function)
    method.__qualname__ = f"ClientMethods.{function.__name__}"
    method.__annotations__ = {**function.__annotations__, "return": returned}
    vars(method)["__signature__"] = signature.replace(parameters=parameters, return_annotation=returned)
    return method


class ClientMethods:
    """What can be asked of Conductor, by the names of the Python SDK's clients.

    Every method raises a ``ConductorRequestError`` if the request fails, and a ``ConductorInputError`` before anything
    is sent if an argument cannot be right.
    """

    capabilities: Capabilities

    start_workflow = verb(endpoints.start_workflow)
    start_workflow_by_name = verb(endpoints.start_workflow_by_name)
    execute_workflow = flow_verb(flows.execute_workflow)
    test_workflow = verb(endpoints.test_workflow)

    get_workflow = verb(endpoints.get_workflow)
    get_workflow_status = flow_verb(flows.get_workflow_status)
    get_workflow_tasks = verb(endpoints.get_workflow_tasks)
    get_running_workflows = verb(endpoints.get_running_workflows)
    get_by_correlation_ids = verb(endpoints.get_by_correlation_ids)
    search_workflows = verb(endpoints.search_workflows)
    search_workflows_by_tasks = verb(endpoints.search_workflows_by_tasks)

    decide_workflow = verb(endpoints.decide_workflow)
    reset_workflow_callbacks = verb(endpoints.reset_workflow_callbacks)
    pause_workflow = verb(endpoints.pause_workflow)
    resume_workflow = verb(endpoints.resume_workflow)
    terminate_workflow = verb(endpoints.terminate_workflow)
    restart_workflow = verb(endpoints.restart_workflow)
    retry_workflow = verb(endpoints.retry_workflow)
    rerun_workflow = verb(endpoints.rerun_workflow)
    skip_task_from_workflow = verb(endpoints.skip_task_from_workflow)
    delete_workflow = verb(endpoints.delete_workflow)
    terminate_and_delete_workflow = verb(endpoints.terminate_and_delete_workflow)

    bulk_pause = verb(endpoints.bulk_pause)
    bulk_resume = verb(endpoints.bulk_resume)
    bulk_restart = verb(endpoints.bulk_restart)
    bulk_retry = verb(endpoints.bulk_retry)
    bulk_terminate = verb(endpoints.bulk_terminate)
    bulk_terminate_and_delete = verb(endpoints.bulk_terminate_and_delete)
    bulk_delete = verb(endpoints.bulk_delete)

    poll_task = verb(endpoints.poll_task)
    update_task = verb(endpoints.update_task)
    update_task_by_ref_name = verb(endpoints.update_task_by_ref_name)
    update_task_sync = verb(endpoints.update_task_sync)
    signal_workflow_task_async = verb(endpoints.signal_workflow_task_async)
    signal_workflow_task_sync = verb(endpoints.signal_workflow_task_sync)
    get_task = verb(endpoints.get_task)
    log_task = verb(endpoints.log_task)
    get_task_logs = verb(endpoints.get_task_logs)
    search_tasks = verb(endpoints.search_tasks)

    get_poll_data = verb(endpoints.get_poll_data)
    get_all_poll_data = verb(endpoints.get_all_poll_data)
    get_queue_size = verb(endpoints.get_queue_size)
    get_queue_sizes = verb(endpoints.get_queue_sizes)
    get_all_queue_sizes = verb(endpoints.get_all_queue_sizes)
    requeue_tasks = verb(endpoints.requeue_tasks)

    register_workflow_defs = verb(endpoints.register_workflow_defs)
    validate_workflow_def = verb(endpoints.validate_workflow_def)
    get_workflow_def = verb(endpoints.get_workflow_def)
    get_workflow_defs = verb(endpoints.get_workflow_defs)
    get_workflow_names_and_versions = verb(endpoints.get_workflow_names_and_versions)
    unregister_workflow_def = verb(endpoints.unregister_workflow_def)
    register_task_defs = verb(endpoints.register_task_defs)
    get_task_def = verb(endpoints.get_task_def)
    get_task_defs = verb(endpoints.get_task_defs)
    unregister_task_def = verb(endpoints.unregister_task_def)


class BlockingMethods(ClientMethods, ABC):
    """The methods of a client that returns values."""

    @abstractmethod
    def send(self, call: Call[T]) -> T: ...

    @abstractmethod
    def run(self, flow: Flow[T]) -> T: ...


class AsyncMethods(ClientMethods, ABC):
    """The methods of a client whose calls are awaited."""

    @abstractmethod
    def send(self, call: Call[T]) -> Awaitable[T]: ...

    @abstractmethod
    def run(self, flow: Flow[T]) -> Awaitable[T]: ...
