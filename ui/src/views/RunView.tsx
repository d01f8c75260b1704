import type { RunRow, RunView as Run, TaskInstance } from "../api/contract";
import { runUrl } from "../api/places";
import { clockWithZone, count, duration } from "../format";
import { asTheServerSays, usePoller } from "../live/usePoller";
import { Calm, Ellipsis, ErrorBanner, Loading, StatusBadge } from "../parts/small";
import { isRunningWorkflow } from "../status";

interface Props {
  dag_id: string;
  run_id: string;
  onOpen: (task: TaskInstance) => void;
}

/** All workflows of one DAG run. */
export function RunView({ dag_id, run_id, onOpen }: Props) {
  const { data, error, pollNow } = usePoller<Run>(runUrl(dag_id, run_id), asTheServerSays);
  if (!data) {
    if (!error) return <Loading what="the run's workflows" />;
    if (error.status === 404) return <Calm title="No Conductor workflows here">{error.message}</Calm>;
    return <ErrorBanner error={error} stale={false} onRetry={pollNow} />;
  }
  return (
    <div className="page list">
      {error && <ErrorBanner error={error} stale onRetry={pollNow} />}
      {data.rows.length === 0 ? (
        <Calm title="No Conductor workflows here">
          No task of this DAG run has started a Conductor workflow so far.
        </Calm>
      ) : (
        <>
          <h1>
            {count(data.rows.length + data.more, "Conductor workflow")} <span className="muted">of this DAG run</span>
          </h1>
          <div className="table-frame">
            <table>
              <thead>
                <tr>
                  <th scope="col">Task</th>
                  <th scope="col">State in Airflow</th>
                  <th scope="col">Workflow</th>
                  <th scope="col">Status in Conductor</th>
                  <th scope="col">Started</th>
                  <th scope="col">Duration</th>
                  <th scope="col">Waiting for</th>
                </tr>
              </thead>
              <tbody>
                {data.rows.map((row) => (
                  <Row
                    key={`${row.task_id} ${row.map_index}`}
                    row={row}
                    onOpen={() => onOpen({ dag_id, run_id, task_id: row.task_id, map_index: row.map_index })}
                  />
                ))}
              </tbody>
            </table>
          </div>
          {data.more > 0 && (
            <p className="muted">{count(data.more, "more workflow is", "more workflows are")} not shown.</p>
          )}
        </>
      )}
    </div>
  );
}

function Row({ row, onOpen }: { row: RunRow; onOpen: () => void }) {
  const { workflow } = row;
  const now = Date.now();
  const ended = workflow && !isRunningWorkflow(workflow.status) ? workflow.ended : null;
  return (
    <tr data-testid="row" className={row.needs_user ? "urgent" : ""} onClick={onOpen}>
      <td>
        <button
          type="button"
          className="link pair"
          title={row.task_id}
          onClick={(event) => {
            event.stopPropagation();
            onOpen();
          }}
        >
          <span className="ellipsis">{row.task_id}</span>
          {row.map_index >= 0 && <span className="map-index">[{row.map_index}]</span>}
        </button>
      </td>
      <td>
        {row.state ?? "no state"}
        {row.try_number > 1 && <span className="muted"> try {row.try_number}</span>}
      </td>
      <td>
        {workflow && (
          <span className="pair">
            <Ellipsis text={workflow.name} />
            {workflow.version !== null && <span className="muted">v{workflow.version}</span>}
          </span>
        )}
      </td>
      <td>{workflow && <StatusBadge status={workflow.status} />}</td>
      <td className="nowrap">{workflow && clockWithZone(workflow.started, now)}</td>
      <td className="nowrap">{workflow?.started ? duration((ended || now) - workflow.started) : ""}</td>
      <td className="wide">
        {row.error && <span className="field-error">{row.error}</span>}
        {row.needs_user && <span className="flag">action needed</span>} {row.blocker}
      </td>
    </tr>
  );
}
