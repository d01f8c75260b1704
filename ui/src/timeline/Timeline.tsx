import { useMemo, useState, type CSSProperties } from "react";
import type { WorkflowView } from "../api/contract";
import { attemptDuration, attemptNumber, count, duration } from "../format";
import { useReveal } from "../graph/NodeButton";
import { useConductorClock } from "../live/clock";
import { StatusIcon } from "../parts/StatusIcon";
import { isFailed, isRunningWorkflow, lookOf } from "../status";
import { useTaskContext } from "../task/context";
import { OpenedLevel, OpenToggle } from "../task/Level";
import { MORE } from "../tree/cap";
import { ROWS, bar, spanOf, ticks, timelineRows, type Piece, type Row, type Span } from "./layout";

/** All attempts against time, on the axis of the whole workflow, sub-workflows included. */
export function Timeline({ view }: { view: WorkflowView }) {
  const now = useConductorClock(view.server_time, isRunningWorkflow(view.workflow.status));
  const span = spanOf(view, now);
  if (view.attempts.length === 0) return <p className="muted nothing">No task has been scheduled yet.</p>;
  return (
    <div className="timeline">
      <div className="axis" aria-hidden="true">
        <span className="axis-name">Time since the start</span>
        <div className="track">
          {ticks(span)
            .filter((at) => at <= (span.to - span.from) * 0.95)
            .map((at) => (
              <span key={at} className="tick" style={{ left: `${(at / (span.to - span.from)) * 100}%` }}>
                {at === 0 ? "0" : duration(at)}
              </span>
            ))}
        </div>
      </div>
      <Rows view={view} span={span} now={now} depth={0} />
    </div>
  );
}

interface RowsProps {
  view: WorkflowView;
  span: Span;
  now: number;
  depth: number;
}

function Rows({ view, span, now, depth }: RowsProps) {
  const { filter, opened } = useTaskContext();
  const [limit, setLimit] = useState(ROWS);
  const { rows, hidden } = useMemo(() => timelineRows(view, filter, limit), [view, filter, limit]);
  return (
    <>
      {rows.length === 0 && <p className="muted nothing">No task matches the filter.</p>}
      <ol className="rows" style={{ "--depth": depth } as CSSProperties}>
        {rows.map((row) => {
          const sub = isNewest(row, view) ? (row.node?.sub_workflow_id ?? "") : "";
          return (
            <li key={row.attempt.id}>
              <div className="row-line">
                {sub !== "" && <OpenToggle id={sub} what={row.attempt.ref} kind="chevron" />}
                <Bar row={row} view={view} span={span} now={now} />
              </div>
              {sub !== "" && opened.has(sub) && (
                <OpenedLevel id={sub}>
                  {(inside) => <Rows view={inside} span={span} now={now} depth={depth + 1} />}
                </OpenedLevel>
              )}
            </li>
          );
        })}
      </ol>
      {hidden > 0 && (
        <button type="button" className="button more" data-testid="show-more" onClick={() => setLimit(limit + MORE)}>
          {count(hidden, "more attempt")}: show {Math.min(MORE, hidden)} more
        </button>
      )}
    </>
  );
}

const isNewest = ({ attempt, node }: Row, view: WorkflowView): boolean =>
  view.attempts[node?.attempts.at(-1) ?? -1]?.id === attempt.id;

function Bar({ row, view, span, now }: Omit<RowsProps, "depth"> & { row: Row }) {
  const { selection, select } = useTaskContext();
  const { attempt, node } = row;
  const element = useReveal<HTMLButtonElement>(view, attempt.ref);
  const workflow = view.workflow.id;
  const { queued, run } = bar(attempt, now, span);
  const length = attemptDuration(attempt, now);
  const tone = lookOf(attempt.status).tone;
  const blocked = Boolean(node?.blocked) && !isFailed(attempt.status) && isNewest(row, view);
  const selected = selection?.workflow === workflow && selection.attempt === attempt.id;
  const words = [
    attempt.ref,
    node?.type ?? "",
    attempt.status,
    blocked ? "blocked" : "",
    attemptNumber(attempt),
    length?.text ?? "",
    attempt.worker ? `worker ${attempt.worker}` : "",
  ].filter(Boolean);
  return (
    <button
      ref={element}
      type="button"
      className={`bar-row tone-${tone} ${blocked ? "blocked" : ""}`}
      data-testid={`bar-${attempt.ref}`}
      aria-label={words.join(", ")}
      aria-pressed={selected}
      title={words.join("\n")}
      onClick={() => select(selected ? null : { workflow, ref: attempt.ref, attempt: attempt.id })}
    >
      <StatusIcon status={attempt.status} />
      <span className="bar-name ellipsis">{attempt.ref}</span>
      {(node?.attempts.length ?? 0) > 1 && <span className="flag quiet">{attempt.attempt}</span>}
      {blocked && <span className="flag">blocked</span>}
      <span className="track">
        {queued && <span className="piece queued" style={placed(queued)} />}
        {run && <span className="piece run" style={placed(run)} />}
        {length && <Label piece={run ?? queued} text={length.text} />}
      </span>
    </button>
  );
}

const placed = ({ left, width }: Piece): CSSProperties => ({ left: `${left}%`, width: `${width}%` });

/** Beside the bar where there is room: to its right, or to its left at the end of the axis. */
function Label({ piece, text }: { piece: Piece | null; text: string }) {
  const end = piece ? piece.left + piece.width : 0;
  const style: CSSProperties = end > 82 ? { right: `${100 - (piece?.left ?? 0)}%` } : { left: `${end}%` };
  return (
    <span
      className={`bar-label ${end > 82 ? "before" : ""} ${end > 82 && (piece?.left ?? 0) < 18 ? "inside" : ""}`}
      style={style}
    >
      {text}
    </span>
  );
}
