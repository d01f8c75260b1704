import type { BatchRow, BatchView as Batch } from "../api/contract";
import type { ApiError } from "../api/http";
import { clockWithZone, count, duration } from "../format";
import { Calm, Ellipsis, ErrorBanner, StatusBadge } from "../parts/small";
import { isRunningWorkflow } from "../status";

interface Props {
  data: Batch;
  error: ApiError | null;
  onRetry: () => void;
  onOpen: (workflow: string) => void;
}

/** The workflows of one task instance that runs a batch: what failed first, then what waits for a user. */
export function BatchView({ data, error, onRetry, onOpen }: Props) {
  const { rows, more, note, complete } = data.batch;
  return (
    <div className="page list">
      {error && <ErrorBanner error={error} stale onRetry={onRetry} />}
      {rows.length === 0 ? (
        <Calm title="No workflow of this batch to show">{note}</Calm>
      ) : (
        <>
          <h1>
            {complete ? "" : "At least "}
            {count(rows.length + more, "Conductor workflow")} <span className="muted">of this batch so far</span>
          </h1>
          <p data-testid="counts">{countsOf(data.batch.counts)}</p>
          {more > 0 && (
            <p className="muted" data-testid="limit">
              These are {rows.length.toLocaleString("en")} of them: failed ones first, then running ones, of which the
              longest running are read for what they wait for. {count(more, "more is", "more are")} not shown.
            </p>
          )}
          <div className="table-frame">
            <table>
              <thead>
                <tr>
                  <th scope="col">Item</th>
                  <th scope="col">Workflow</th>
                  <th scope="col">Status in Conductor</th>
                  <th scope="col">Started</th>
                  <th scope="col">Duration</th>
                  <th scope="col">Reason, or what it waits for</th>
                </tr>
              </thead>
              <tbody>
                {rows.map((row) => (
                  <Row key={row.workflow.id} row={row} onOpen={() => onOpen(row.workflow.id)} />
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
    </div>
  );
}

const countsOf = ({ failed = 0, running = 0, completed = 0 }: Batch["batch"]["counts"]): string =>
  Object.entries({ failed, running, completed })
    .filter(([, number]) => number > 0)
    .map(([group, number]) => `${number.toLocaleString("en")} ${group}`)
    .join(", ");

function Row({ row, onOpen }: { row: BatchRow; onOpen: () => void }) {
  const { item, workflow, reason, blocker, needs_user, stalled } = row;
  const now = Date.now();
  const ended = isRunningWorkflow(workflow.status) ? null : workflow.ended;
  return (
    <tr data-testid="row" className={needs_user ? "urgent" : ""} onClick={onOpen}>
      <td>
        <button
          type="button"
          className="link stack"
          title={item}
          onClick={(event) => {
            event.stopPropagation();
            onOpen();
          }}
        >
          <Ellipsis text={item} />
          <Ellipsis text={workflow.id} className="muted mono" />
        </button>
      </td>
      <td>
        <span className="pair">
          <Ellipsis text={workflow.name} />
          {workflow.version !== null && <span className="muted">v{workflow.version}</span>}
        </span>
      </td>
      <td>
        <StatusBadge status={workflow.status} />
      </td>
      <td className="nowrap">{clockWithZone(workflow.started, now)}</td>
      <td className="nowrap">{workflow.started ? duration((ended || now) - workflow.started) : ""}</td>
      <td className="wide">
        {needs_user && <span className="flag">action needed</span>} {stalled && <span className="flag">stalled</span>}{" "}
        {blocker || reason}
      </td>
    </tr>
  );
}
