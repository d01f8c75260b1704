import type { Attempt, Node, WorkflowView } from "../api/contract";
import { isFailed, isOpen } from "../status";
import { matchesAttempt } from "../tree/filter";
import { allNodes } from "../tree/summary";

export const ROWS = 100;

export interface Row {
  attempt: Attempt;
  node: Node | undefined;
}

/** Rows in the order of time. When not all fit: those blocked, failed and running, then the earliest. */
export function timelineRows(view: WorkflowView, filter: string, limit: number): { rows: Row[]; hidden: number } {
  const nodes = new Map<string, Node>();
  for (const node of allNodes(view.graph)) nodes.set(node.ref, node);
  const all = view.attempts
    .map((attempt) => ({ attempt, node: nodes.get(attempt.ref) }))
    .filter(({ attempt, node }) => matchesAttempt(filter, attempt, node));
  if (all.length <= limit) return { rows: all, hidden: 0 };
  const rank = ({ attempt, node }: Row): number => {
    if (node?.blocked && isOpen(attempt.status)) return 0;
    if (isFailed(attempt.status)) return 1;
    return isOpen(attempt.status) ? 2 : 3;
  };
  const chosen = all
    .map((row, index) => ({ row, index, rank: rank(row) }))
    .sort((a, b) => a.rank - b.rank || a.index - b.index)
    .slice(0, limit)
    .sort((a, b) => a.index - b.index);
  return { rows: chosen.map(({ row }) => row), hidden: all.length - limit };
}

export interface Span {
  from: number;
  to: number;
}

/** From the workflow's start, or its first task's, to its end, or now. */
export function spanOf(view: WorkflowView, now: number): Span {
  let from = view.workflow.started || Infinity;
  let to = view.workflow.ended || now;
  for (const { scheduled, started, ended } of view.attempts) {
    from = Math.min(from, scheduled || started || Infinity);
    to = Math.max(to, ended || 0);
  }
  if (!Number.isFinite(from)) from = to;
  return { from, to: Math.max(to, from + 1) };
}

export interface Piece {
  left: number;
  width: number;
}

/** In percent of the span; outside of it nothing is drawn. */
export function piece(from: number, to: number, span: Span): Piece {
  const whole = span.to - span.from;
  const clamp = (time: number) => Math.min(1, Math.max(0, (time - span.from) / whole));
  const left = clamp(from);
  return { left: left * 100, width: Math.max(0, clamp(to) - left) * 100 };
}

/** The bar of an attempt: first it waits for a worker, then it runs. */
export function bar(
  { scheduled, started, ended }: Attempt,
  now: number,
  span: Span,
): { queued: Piece | null; run: Piece | null } {
  const end = ended || now;
  const queuedUntil = started || end;
  return {
    queued: scheduled && queuedUntil > scheduled ? piece(scheduled, queuedUntil, span) : null,
    run: started ? piece(started, end, span) : null,
  };
}

const STEPS = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800,
  604800,
].map((seconds) => seconds * 1000);

/** Round offsets from the start, in ms: between two and seven of them. */
export function ticks(span: Span): number[] {
  const whole = span.to - span.from;
  const step = STEPS.find((each) => whole / each <= 6) ?? Math.ceil(whole / 6 / 604800000) * 604800000;
  const found: number[] = [];
  for (let at = 0; at <= whole; at += step) found.push(at);
  return found;
}
