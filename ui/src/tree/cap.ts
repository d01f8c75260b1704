import type { Branch, Node } from "../api/contract";
import { ENDED, RUNNING, sum, summaryOfBranch, summaryOfNode, type Rank } from "./summary";

/** Nodes drawn at first; a page with more than a few hundred is slow to draw and to read. */
export const BUDGET = 300;
export const BRANCHES = 60;
export const MORE = 100;

/** Hiding fewer than so many behind a button saves nothing. */
const SLACK = 3;

export interface Shown<T> {
  item: T;
  budget: number;
}
export interface Gap<T> {
  hidden: T[];
}

const byUrgency = (ranks: readonly Rank[]): number[] =>
  ranks.map((_, index) => index).sort((a, b) => ranks[a]! - ranks[b]! || a - b);

/** What is urgent, then its neighbourhood: without anything urgent, from the first node on. */
function aroundTheUrgent(ranks: readonly Rank[]): number[] {
  const focus = byUrgency(ranks)[0] ?? 0;
  const center = ranks[focus]! <= RUNNING ? focus : 0;
  const weights = ranks.map((rank, index) => (rank <= RUNNING ? rank : ENDED + Math.abs(index - center)));
  return weights.map((_, index) => index).sort((a, b) => weights[a]! - weights[b]! || a - b);
}

/** The nodes of a sequence in their order: the most urgent and those around, gaps where others are left out. */
export function capSequence(nodes: readonly Node[], budget: number, extra: number): (Shown<Node> | Gap<Node>)[] {
  const summaries = nodes.map(summaryOfNode);
  if (extra === 0 && sum(summaries).tasks <= budget) {
    return nodes.map((item) => ({ item, budget }));
  }
  const limit = Math.max(20, Math.min(BUDGET, budget)) + extra;
  const all = nodes.length <= limit + SLACK;
  const ranks = summaries.map(({ rank }) => rank);
  const visible = new Set(all ? nodes.keys() : aroundTheUrgent(ranks).slice(0, limit));
  const nested = nodes.filter((node, index) => visible.has(index) && node.branches.length > 0).length;
  const share = nested === 0 ? 0 : Math.max(20, Math.floor((budget - (visible.size - nested)) / nested));
  const result: (Shown<Node> | Gap<Node>)[] = [];
  nodes.forEach((item, index) => {
    const last = result.at(-1);
    if (visible.has(index)) result.push({ item, budget: share });
    else if (last && "hidden" in last) last.hidden.push(item);
    else result.push({ hidden: [item] });
  });
  return result;
}

/** The branches of a fork, a switch or a loop. All fit: in their order. Otherwise the most urgent ones first. */
export function capBranches(
  branches: readonly Branch[],
  budget: number,
  extra: number,
): { shown: Shown<Branch>[]; hidden: Branch[] } {
  const total = sum(branches.map(summaryOfBranch)).tasks;
  if (branches.length <= BRANCHES + extra && total <= budget) {
    return { shown: branches.map((item) => ({ item, budget })), hidden: [] };
  }
  const per = Math.max(10, Math.floor(budget / Math.min(branches.length, BRANCHES)));
  let limit = 0;
  let used = 0;
  const order = byUrgency(branches.map((branch) => summaryOfBranch(branch).rank));
  for (const index of order) {
    const weight = Math.min(per, summaryOfBranch(branches[index]!).tasks);
    if (limit > 0 && (limit >= BRANCHES || used + weight > budget)) break;
    used += weight;
    limit += 1;
  }
  limit += extra;
  if (branches.length <= limit) return { shown: branches.map((item) => ({ item, budget: per })), hidden: [] };
  return {
    shown: order.slice(0, limit).map((index) => ({ item: branches[index]!, budget: per })),
    hidden: order.slice(limit).map((index) => branches[index]!),
  };
}
