import { useState } from "react";
import type { Connection, HealthView as Health, Queue, TaskInstance, Wait } from "../api/contract";
import { healthUrl } from "../api/places";
import { clockWithZone, count, duration } from "../format";
import { asTheServerSays, usePoller } from "../live/usePoller";
import { Calm, Ellipsis, ErrorBanner, Loading } from "../parts/small";
import { StatusIcon } from "../parts/StatusIcon";

/** Which Conductors can be reached, which queues nobody polls, and which waits need somebody. */
export function HealthView({ onOpen }: { onOpen: (task: TaskInstance) => void }) {
  const { data, error, pollNow } = usePoller<Health>(healthUrl, asTheServerSays);
  if (!data) {
    if (!error) return <Loading what="the health of Conductor" />;
    return <ErrorBanner error={error} stale={false} onRetry={pollNow} />;
  }
  return (
    <div className="page list">
      {error && <ErrorBanner error={error} stale onRetry={pollNow} />}
      <h1>Conductor</h1>
      <Waits data={data} onOpen={onOpen} />
      <section>
        <h2>Connections</h2>
        {data.connections.length === 0 && (
          <Calm title="No connection to Conductor">
            Airflow has no connection of type conductor. Add one, and it is listed here.
          </Calm>
        )}
        {data.connections.map((connection) => (
          <ConnectionCard key={connection.conn_id} connection={connection} />
        ))}
      </section>
    </div>
  );
}

/** Queues of a connection that are listed before somebody asks for all; the server sends those without workers first. */
const QUEUES = 10;

function ConnectionCard({ connection }: { connection: Connection }) {
  const { conn_id, address, ok, message, queues, queues_error } = connection;
  const [all, setAll] = useState(false);
  return (
    <article
      className={`card ${ok ? "" : "bad"}`}
      data-testid="connection"
      data-ok={ok}
      aria-label={`Connection ${conn_id}`}
    >
      <div className="card-head">
        <StatusIcon status={ok ? "COMPLETED" : "FAILED"} />
        <h3>
          <Ellipsis text={conn_id} />
        </h3>
        <span className="breaks muted">{address}</span>
        <span className={ok ? "muted" : "bad-text"}>{ok ? "reachable" : "not usable"}</span>
      </div>
      {message && <p className="words">{message}</p>}
      {queues_error && <p className="field-error">{queues_error}</p>}
      {queues.length > 0 && (
        <div className="table-frame">
          <table>
            <caption>Queues with tasks that wait for a worker</caption>
            <thead>
              <tr>
                <th scope="col">Queue</th>
                <th scope="col">Domain</th>
                <th scope="col">Waiting</th>
                <th scope="col">Workers</th>
                <th scope="col">Last poll</th>
                <th scope="col">By</th>
              </tr>
            </thead>
            <tbody>
              {queues.slice(0, all ? undefined : QUEUES).map((queue) => (
                <QueueRow key={`${queue.domain} ${queue.name}`} queue={queue} />
              ))}
            </tbody>
          </table>
          {!all && queues.length > QUEUES && (
            <button type="button" className="button more" data-testid="show-queues" onClick={() => setAll(true)}>
              Show all {queues.length} queues
            </button>
          )}
        </div>
      )}
      {ok && queues.length === 0 && !queues_error && <p className="muted">No task waits for a worker.</p>}
    </article>
  );
}

function QueueRow({ queue }: { queue: Queue }) {
  const { name, domain, waiting, last_poll, worker, polled } = queue;
  return (
    <tr data-testid="queue" data-polled={polled} className={polled ? "" : "urgent"}>
      <td>
        <Ellipsis text={name} />
      </td>
      <td>{domain}</td>
      <td className="number">{waiting.toLocaleString("en")}</td>
      <td>{polled ? "polling" : <span className="flag">no worker polls</span>}</td>
      <td className="nowrap">{last_poll ? clockWithZone(last_poll, Date.now()) : "never"}</td>
      <td>
        <Ellipsis text={worker} />
      </td>
    </tr>
  );
}

function Waits({ data, onOpen }: { data: Health; onOpen: (task: TaskInstance) => void }) {
  const { waits, more } = data;
  return (
    <section>
      <h2>Waits that need attention</h2>
      {waits.length === 0 ? (
        <p className="muted">No task waits for a workflow that stands still.</p>
      ) : (
        <div className="table-frame">
          <table>
            <thead>
              <tr>
                <th scope="col">DAG, run and task</th>
                <th scope="col">Workflow</th>
                <th scope="col">For</th>
                <th scope="col">Waiting for</th>
              </tr>
            </thead>
            <tbody>
              {waits.map((wait) => (
                <WaitRow
                  key={`${wait.dag_id} ${wait.run_id} ${wait.task_id} ${wait.map_index}`}
                  wait={wait}
                  onOpen={() => onOpen(wait)}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {more > 0 && <p className="muted">{count(more, "more wait is", "more waits are")} not shown.</p>}
    </section>
  );
}

function WaitRow({ wait, onOpen }: { wait: Wait; onOpen: () => void }) {
  return (
    <tr data-testid="row" className={wait.needs_user ? "urgent" : ""} onClick={onOpen}>
      <td>
        <button
          type="button"
          className="link stack"
          onClick={(event) => {
            event.stopPropagation();
            onOpen();
          }}
        >
          <Ellipsis text={wait.dag_id} />
          <Ellipsis text={wait.run_id} className="muted" />
          <Ellipsis text={wait.map_index >= 0 ? `${wait.task_id} [${wait.map_index}]` : wait.task_id} />
        </button>
      </td>
      <td>
        <Ellipsis text={wait.workflow_name} />
        <Ellipsis text={wait.workflow_id} className="muted mono" />
      </td>
      <td className="nowrap">{wait.since ? duration(Date.now() - wait.since) : ""}</td>
      <td className="wide">
        {wait.needs_user && <span className="flag">action needed</span>}{" "}
        {wait.stalled && <span className="flag">stalled</span>} {wait.blocker}
      </td>
    </tr>
  );
}
