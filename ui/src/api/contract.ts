// What the routes in airflow_provider_conductor/ui answer.
// Times are milliseconds since the epoch; 0 or null is unknown.

export type Time = number | null;

export interface Permission {
  allowed: boolean;
  why: string;
}

export const WORKFLOW_VERBS = ["pause", "resume", "retry", "restart", "terminate"] as const;
export const TASK_VERBS = ["complete", "fail", "skip", "rerun"] as const;
export type WorkflowVerb = (typeof WORKFLOW_VERBS)[number];
export type TaskVerb = (typeof TASK_VERBS)[number];
export type Verb = WorkflowVerb | TaskVerb;

export interface TaskInstance {
  dag_id: string;
  run_id: string;
  task_id: string;
  map_index: number;
}

export interface Workflow {
  id: string;
  name: string;
  version: number | null;
  status: string;
  reason: string;
  correlation_id: string;
  started: Time;
  ended: Time;
  updated: Time;
  url: string;
  parent_id: string;
}

export interface Attempt {
  id: string;
  ref: string;
  status: string;
  attempt: number;
  max_attempts: number | null;
  scheduled: Time;
  started: Time;
  ended: Time;
  worker: string;
  domain: string;
  iteration: number;
  reason: string;
  poll_count: number;
}

export interface Branch {
  label: string;
  taken: boolean | null;
  nodes: Node[];
}

export interface Node {
  kind: "task" | "fork" | "switch" | "loop" | "sub_workflow";
  ref: string;
  name: string;
  type: string;
  attempts: number[];
  status: string;
  blocked: boolean;
  optional: boolean;
  sub_workflow_id: string;
  branches: Branch[];
}

export interface WorkflowView {
  /** steps: of a task that follows a step of the workflow, its name, after those of the sub-workflows that it is in */
  task: TaskInstance & { state: string | null; try_number: number; steps: string[] };
  workflow: Workflow;
  blocker: string;
  needs_user: boolean;
  failure: string;
  graph: Node[];
  attempts: Attempt[];
  actions: Partial<Record<WorkflowVerb, Permission>>;
  may_act: boolean;
  poll_after: number | null;
  server_time: number;
}

export interface BatchRow {
  item: string;
  workflow: Pick<Workflow, "id" | "name" | "version" | "status" | "started" | "ended">;
  reason: string;
  blocker: string;
  needs_user: boolean;
  stalled: boolean;
  failed: boolean;
}

/** A task instance that runs many workflows: what the route answers instead of the view of one. */
export interface BatchView {
  task: WorkflowView["task"];
  batch: {
    rows: BatchRow[];
    /** of all that were started; at least so many where `complete` is false */
    counts: { failed?: number; running?: number; completed?: number };
    complete: boolean;
    more: number;
    note: string;
  };
  poll_after: number | null;
}

export interface Payload {
  text: string;
  bytes: number;
  cut: boolean;
}

export interface TaskDetails {
  attempt: Attempt | null;
  name: string;
  type: string;
  description: string;
  reason: string;
  input: Payload;
  output: Payload;
  definition: Payload;
  log: string[];
  log_error: string;
  actions: Partial<Record<TaskVerb, Permission>>;
}

export interface ActionRequest {
  verb: Verb;
  workflow: string;
  ref?: string;
  task?: string;
  reason?: string | null;
  output?: Record<string, unknown> | null;
  terminal?: boolean;
}

export interface ActionResult {
  message: string;
  changed: boolean;
}

export interface RunRow {
  task_id: string;
  map_index: number;
  state: string | null;
  try_number: number;
  conn_id: string;
  workflow: Pick<Workflow, "id" | "name" | "version" | "status" | "started" | "ended"> | null;
  blocker: string;
  needs_user: boolean;
  error: string;
}

export interface RunView {
  rows: RunRow[];
  more: number;
  poll_after: number | null;
}

export interface Queue {
  name: string;
  domain: string;
  waiting: number;
  last_poll: Time;
  worker: string;
  polled: boolean;
}

export interface Connection {
  conn_id: string;
  address: string;
  ok: boolean;
  message: string;
  queues: Queue[];
  queues_error: string;
}

export interface Wait extends TaskInstance {
  conn_id: string;
  workflow_id: string;
  workflow_name: string;
  blocker: string;
  since: Time;
  stalled: boolean;
  needs_user: boolean;
}

export interface HealthView {
  connections: Connection[];
  waits: Wait[];
  more: number;
  poll_after: number | null;
}
