import type { Node, WorkflowView } from "../api/contract";
import { isFailed } from "../status";

/** Sub-workflows that open by themselves, each inside the one before. */
export const AUTO_OPEN = 5;

function first(nodes: readonly Node[], wanted: (node: Node) => boolean): Node | null {
  for (const node of nodes) {
    // A loop or a fork is blocked, or fails, because of what is in it.
    for (const branch of node.branches) {
      const inside = first(branch.nodes, wanted);
      if (inside) return inside;
    }
    if (wanted(node)) return node;
  }
  return null;
}

/** The node that a person should see first: what blocks the workflow, or what made it fail. */
export function troubleOf(view: Pick<WorkflowView, "graph" | "workflow">): Node | null {
  const blocked = first(view.graph, (node) => node.blocked);
  if (blocked) return blocked;
  if (!isFailed(view.workflow.status)) return null;
  const failed = (node: Node) => isFailed(node.status) && !node.optional;
  // A JOIN fails when one of its branches has failed.
  return first(view.graph, (node) => failed(node) && node.type !== "JOIN") ?? first(view.graph, failed);
}
