import type { Attempt, Branch, Node, Permission, TaskDetails, WorkflowView } from "../src/api/contract";

export const NOW = 1_795_785_000_000;

export const TASK = { dag_id: "orders", run_id: "manual__1", task_id: "fulfil", map_index: -1 };

export const allowed: Permission = { allowed: true, why: "" };
export const forbidden = (why: string): Permission => ({ allowed: false, why });

/** Builds a workflow as the API describes it: tasks are added in the order in which Conductor scheduled them. */
export class Sample {
  readonly attempts: Attempt[] = [];

  node(
    ref: string,
    status = "COMPLETED",
    more: Partial<Node> & { attempt?: Partial<Attempt>; tries?: number } = {},
  ): Node {
    const { attempt, tries = 1, ...rest } = more;
    const indexes: number[] = [];
    for (let number = 1; status !== "" && number <= tries; number += 1) {
      const own = number === tries ? status : "FAILED";
      const open = own === "SCHEDULED" || own === "IN_PROGRESS";
      indexes.push(this.attempts.length);
      this.attempts.push({
        id: `${ref}-${number}`,
        ref,
        status: own,
        attempt: number,
        max_attempts: 4,
        scheduled: NOW - 60_000,
        started: own === "SCHEDULED" ? 0 : NOW - 50_000,
        ended: open ? 0 : NOW - 46_900,
        worker: own === "SCHEDULED" ? "" : "w1",
        domain: "",
        iteration: 0,
        reason: "",
        poll_count: 1,
        ...attempt,
      });
    }
    return {
      kind: "task",
      ref,
      name: ref,
      type: "SIMPLE",
      attempts: indexes,
      status,
      blocked: false,
      optional: false,
      sub_workflow_id: "",
      branches: [],
      ...rest,
    };
  }

  view(
    graph: Node[],
    more: Partial<Omit<WorkflowView, "workflow">> & { workflow?: Partial<WorkflowView["workflow"]> } = {},
  ): WorkflowView {
    const { workflow, ...rest } = more;
    return {
      task: { ...TASK, state: "deferred", try_number: 1, steps: [] },
      workflow: {
        id: "wf-1",
        name: "order_fulfilment",
        version: 2,
        status: "RUNNING",
        reason: "",
        correlation_id: "",
        started: NOW - 60_000,
        ended: 0,
        updated: NOW,
        url: "",
        parent_id: "",
        ...workflow,
      },
      blocker: "",
      needs_user: false,
      failure: "",
      graph,
      attempts: this.attempts,
      actions: {
        pause: allowed,
        resume: forbidden("The workflow is RUNNING, not PAUSED."),
        retry: forbidden("The workflow is RUNNING."),
        restart: forbidden("The workflow is RUNNING."),
        terminate: allowed,
      },
      may_act: true,
      poll_after: 2,
      server_time: NOW,
      ...rest,
    };
  }
}

export const branch = (label: string, nodes: Node[], taken: boolean | null = true): Branch => ({ label, taken, nodes });

export function details(more: Partial<TaskDetails> = {}): TaskDetails {
  const none = { text: "", bytes: 0, cut: false };
  return {
    attempt: null,
    name: "pack_order",
    type: "SIMPLE",
    description: "",
    reason: "",
    input: none,
    output: none,
    definition: none,
    log: [],
    log_error: "",
    actions: { complete: allowed, fail: allowed, rerun: allowed, skip: forbidden("It has been scheduled already.") },
    ...more,
  };
}
