import { useEffect, useRef } from "react";
import type { Attempt, Node, WorkflowView } from "../api/contract";
import { attemptDuration, attemptNumber } from "../format";
import { useConductorClock } from "../live/clock";
import { StatusIcon } from "../parts/StatusIcon";
import { isFailed, isOpen, lookOf, statusText } from "../status";
import { useTaskContext } from "../task/context";

export const newestAttempt = (node: Node, view: WorkflowView): Attempt | undefined =>
  view.attempts[node.attempts.at(-1) ?? -1];

/** The server marks what blocks a workflow that runs, and what made it fail. */
const flagOf = (node: Node): string => (!node.blocked ? "" : isFailed(node.status) ? "cause" : "blocked");

/** "pack_order, SIMPLE, FAILED, attempt 2 of 4, 3.1 s, worker w1" */
export function accessibleName(node: Node, attempt: Attempt | undefined, now: number): string {
  const parts = [
    node.name === node.ref ? node.ref : `${node.ref} (${node.name})`,
    node.type,
    statusText(node.status),
    flagOf(node),
    node.optional ? "optional" : "",
    attempt ? attemptNumber(attempt) : "",
    attempt ? (attemptDuration(attempt, now)?.text ?? "") : "",
    attempt?.worker ? `worker ${attempt.worker}` : "",
  ];
  return parts.filter(Boolean).join(", ");
}

/** Brings the element into the middle of the box that scrolls, and moves nothing of the page around Airflow's frame. */
function reveal(element: HTMLElement): void {
  const scroller = element.closest(".scroller");
  if (!scroller) return;
  const outer = scroller.getBoundingClientRect();
  const inner = element.getBoundingClientRect();
  scroller.scrollTop += inner.top + inner.height / 2 - (outer.top + outer.height / 2);
  if (inner.left < outer.left || inner.right > outer.right) {
    scroller.scrollLeft += inner.left + inner.width / 2 - (outer.left + outer.width / 2);
  }
}

export function useReveal<E extends HTMLElement>(view: WorkflowView, ref: string) {
  const { target } = useTaskContext();
  const element = useRef<E>(null);
  const wanted = target?.ref === ref && target.workflow === view.workflow.id;
  useEffect(() => {
    if (wanted && element.current) reveal(element.current);
  }, [wanted]);
  return element;
}

export function NodeButton({ node, view }: { node: Node; view: WorkflowView }) {
  const { selection, select } = useTaskContext();
  const attempt = newestAttempt(node, view);
  const now = useConductorClock(view.server_time, attempt !== undefined && isOpen(attempt.status));
  const element = useReveal<HTMLButtonElement>(view, node.ref);
  const workflow = view.workflow.id;
  const selected = selection?.workflow === workflow && selection.ref === node.ref;
  const failed = isFailed(node.status);
  const length = attempt && attemptDuration(attempt, now);
  // The most telling first: what doesn't fit is cut off at the end, and is in the tooltip and in the details.
  const facts = [
    length?.text ?? "",
    attempt && (attempt.attempt > 1 || (isFailed(attempt.status) && attempt.max_attempts !== null))
      ? attemptNumber(attempt)
      : "",
    node.type,
    attempt?.worker ?? "",
  ].filter(Boolean);
  return (
    <button
      ref={element}
      type="button"
      className={`node tone-${lookOf(node.status).tone} ${node.blocked && !failed ? "blocked" : ""}`}
      data-testid={`node-${node.ref}`}
      data-status={node.status}
      aria-label={accessibleName(node, attempt, now)}
      aria-pressed={selected}
      title={[node.ref, statusText(node.status), ...facts].join("\n")}
      onClick={() => select(selected ? null : { workflow, ref: node.ref, attempt: null })}
    >
      <span className="node-line">
        <StatusIcon status={node.status} />
        <span className="node-name ellipsis">{node.ref}</span>
        {node.blocked && <span className={`flag ${failed ? "bad" : ""}`}>{flagOf(node)}</span>}
        {node.optional && <span className="flag quiet">optional</span>}
      </span>
      <span className="node-line">
        <span className="node-status">{statusText(node.status)}</span>
        <span className="node-facts ellipsis">{facts.join(" · ")}</span>
      </span>
    </button>
  );
}
