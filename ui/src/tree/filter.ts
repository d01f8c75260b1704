import type { Attempt, Node } from "../api/contract";

export function matches(text: string, fields: readonly string[]): boolean {
  const wanted = text.trim().toLowerCase();
  return wanted === "" || fields.some((field) => field.toLowerCase().includes(wanted));
}

const matchesNode = (text: string, node: Node) => matches(text, [node.ref, node.name, node.type, node.status]);

/** The tree without the nodes that don't match, and without the branches that have none left. */
export function filterTree(nodes: readonly Node[], text: string): readonly Node[] {
  if (text.trim() === "") return nodes;
  return nodes.flatMap((node) => {
    const branches = node.branches
      .map((branch) => ({ ...branch, nodes: [...filterTree(branch.nodes, text)] }))
      .filter((branch) => branch.nodes.length > 0 || matches(text, [branch.label]));
    return branches.length > 0 || matchesNode(text, node) ? [{ ...node, branches }] : [];
  });
}

export const matchesAttempt = (text: string, attempt: Attempt, node: Node | undefined): boolean =>
  matches(text, [attempt.ref, attempt.status, attempt.worker, node?.name ?? "", node?.type ?? ""]);
