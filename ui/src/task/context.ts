import { createContext, useContext } from "react";
import type { WorkflowVerb, Workflow, WorkflowView } from "../api/contract";
import type { Snapshot } from "../live/poller";

export interface NodeId {
  workflow: string;
  ref: string;
}

export interface Selection extends NodeId {
  /** a task id; null: the newest attempt */
  attempt: string | null;
  /** The page has chosen it, not the user: the focus stays where it is. */
  byPage?: boolean;
}

/** What the graph and the timeline share, at every depth. */
export interface TaskContextValue {
  levels: ReadonlyMap<string, Snapshot<WorkflowView>>;
  opened: ReadonlySet<string>;
  toggle: (workflow: string) => void;
  selection: Selection | null;
  select: (selection: Selection | null) => void;
  /** the node to bring into view, once */
  target: NodeId | null;
  filter: string;
  /** asks first where that is due */
  request: (verb: WorkflowVerb, workflow: Workflow) => void;
  busy: boolean;
  rootBlocker: string;
}

export const TaskContext = createContext<TaskContextValue | null>(null);

export function useTaskContext(): TaskContextValue {
  const value = useContext(TaskContext);
  if (!value) throw new Error("There is no TaskContext above this component.");
  return value;
}
