import type { TaskInstance } from "./contract";

/** What the page shows. Every address is relative to the page, because Airflow may live below a path of its own. */
export type Place =
  | { view: "task"; task: TaskInstance; workflow?: string }
  | { view: "run"; dag_id: string; run_id: string }
  | { view: "health" }
  | { view: "unknown"; path: string };

export function placeOf(location: { pathname: string; search: string }): Place {
  const segment = location.pathname.split("/").filter(Boolean).at(-1) ?? "";
  // Airflow 3.1 puts a run's id there as it is, with its "+"; later versions, and taskPage, write one as "%2B".
  const query = new URLSearchParams(location.search.replaceAll("+", "%2B"));
  const dag_id = query.get("dag_id") ?? "";
  const run_id = query.get("run_id") ?? "";
  switch (segment) {
    case "task": {
      const workflow = query.get("workflow");
      return {
        view: "task",
        task: { dag_id, run_id, task_id: query.get("task_id") ?? "", map_index: mapIndex(query) },
        ...(workflow ? { workflow } : {}),
      };
    }
    case "run":
      return { view: "run", dag_id, run_id };
    case "health":
      return { view: "health" };
    default:
      return { view: "unknown", path: segment };
  }
}

/** Airflow leaves `{MAP_INDEX}` as it is for a task that is not mapped. */
function mapIndex(query: URLSearchParams): number {
  const text = query.get("map_index") ?? "";
  return /^\d+$/.test(text) ? Number(text) : -1;
}

const path = (...parts: (string | number)[]) => parts.map((part) => encodeURIComponent(String(part))).join("/");

/** `workflow`: one of the many of a batch. */
export function taskPage(task: TaskInstance, workflow?: string): string {
  const { dag_id, run_id, task_id, map_index } = task;
  const values = { dag_id, run_id, task_id, map_index, ...(workflow ? { workflow } : {}) };
  const query = Object.entries(values).map(([name, value]) => `${name}=${path(value)}`);
  return `./task?${query.join("&")}`;
}

const taskApi = (task: TaskInstance) =>
  `./api/dags/${path(task.dag_id)}/runs/${path(task.run_id)}/tasks/${path(task.task_id, task.map_index)}`;

export function workflowUrl(task: TaskInstance, workflow?: string): string {
  return `${taskApi(task)}/workflow${workflow ? `?${new URLSearchParams({ workflow })}` : ""}`;
}

export function detailsUrl(task: TaskInstance, workflow: string, ref: string, id: string | null): string {
  return `${taskApi(task)}/task?${new URLSearchParams({ workflow, ref, ...(id === null ? {} : { id }) })}`;
}

export const actionsUrl = (task: TaskInstance) => `${taskApi(task)}/actions`;

export const runUrl = (dag_id: string, run_id: string) => `./api/dags/${path(dag_id)}/runs/${path(run_id)}/workflows`;

export const healthUrl = "./api/health";
