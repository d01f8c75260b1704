import type { Branch, Node } from "../api/contract";
import { isFailed, isOpen, lookOf } from "../status";

/** Lower is more urgent: what a person came to see stays on the page when not everything fits. */
export const BLOCKED = 0;
export const FAILED = 1;
export const RUNNING = 2;
export const ENDED = 3;
export const NOT_REACHED = 4;
export type Rank = 0 | 1 | 2 | 3 | 4;

export const RANK_WORDS: Record<Rank, string> = {
  [BLOCKED]: "blocked",
  [FAILED]: "failed",
  [RUNNING]: "running",
  [ENDED]: "ended",
  [NOT_REACHED]: "not reached",
};

export interface Summary {
  tasks: number;
  /** the most urgent of all nodes in it */
  rank: Rank;
}

export function rankOf(node: Node): Rank {
  if (node.blocked) return BLOCKED;
  if (isFailed(node.status) && !node.optional) return FAILED;
  if (isOpen(node.status)) return RUNNING;
  return lookOf(node.status).tone === "none" ? NOT_REACHED : ENDED;
}

const known = new WeakMap<object, Summary>();

function remembered(key: object, compute: () => Summary): Summary {
  let summary = known.get(key);
  if (!summary) {
    summary = compute();
    known.set(key, summary);
  }
  return summary;
}

export function sum(parts: Iterable<Summary>): Summary {
  let tasks = 0;
  let rank: Rank = NOT_REACHED;
  for (const part of parts) {
    tasks += part.tasks;
    if (part.rank < rank) rank = part.rank;
  }
  return { tasks, rank };
}

export function summaryOfNode(node: Node): Summary {
  return remembered(node, () => {
    const inside = sum(node.branches.map(summaryOfBranch));
    const own = rankOf(node);
    return { tasks: inside.tasks + 1, rank: own < inside.rank ? own : inside.rank };
  });
}

export const summaryOfBranch = (branch: Branch): Summary =>
  remembered(branch, () => sum(branch.nodes.map(summaryOfNode)));

/** "2 failed, 14 running, 4,984 ended": the branches of a fork or the iterations of a loop. */
export function census(branches: readonly Branch[]): string {
  const counts = new Map<Rank, number>();
  for (const branch of branches) {
    const { rank } = summaryOfBranch(branch);
    counts.set(rank, (counts.get(rank) ?? 0) + 1);
  }
  return [...counts.entries()]
    .sort(([a], [b]) => a - b)
    .map(([rank, number]) => `${number.toLocaleString("en")} ${RANK_WORDS[rank]}`)
    .join(", ");
}

export function* allNodes(nodes: readonly Node[]): Generator<Node> {
  for (const node of nodes) {
    yield node;
    for (const branch of node.branches) yield* allNodes(branch.nodes);
  }
}
