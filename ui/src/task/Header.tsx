import type { ReactNode } from "react";
import { WORKFLOW_VERBS, type WorkflowView } from "../api/contract";
import { clockWithZone, duration } from "../format";
import { useConductorClock } from "../live/clock";
import { Copyable, Ellipsis, StatusBadge } from "../parts/small";
import { isRunningWorkflow } from "../status";
import { ActionButton } from "./ActionButton";
import { useTaskContext } from "./context";

export function Header({ view }: { view: WorkflowView }) {
  const { request, busy } = useTaskContext();
  const { workflow } = view;
  const running = isRunningWorkflow(workflow.status);
  const now = useConductorClock(view.server_time, running);
  return (
    <header className="header">
      <div className="title">
        <StatusBadge status={workflow.status} />
        <h1>
          <Ellipsis text={workflow.name} />
        </h1>
        {workflow.version !== null && <span className="muted">version {workflow.version}</span>}
        {view.may_act && (
          <div className="actions" role="group" aria-label="Actions on the workflow">
            {WORKFLOW_VERBS.map((verb) => (
              <ActionButton
                key={verb}
                verb={verb}
                permission={view.actions[verb] ?? { allowed: false, why: "Not offered for this workflow." }}
                busy={busy}
                onClick={() => request(verb, workflow)}
              />
            ))}
          </div>
        )}
      </div>
      <dl className="facts">
        <Fact name="Id">
          <Copyable text={workflow.id} what="the workflow's id" />
        </Fact>
        {workflow.started ? <Fact name="Started">{clockWithZone(workflow.started, view.server_time)}</Fact> : null}
        {workflow.ended && !running ? (
          <Fact name="Ended">{clockWithZone(workflow.ended, view.server_time)}</Fact>
        ) : null}
        {workflow.started ? (
          <Fact name="Duration">{duration((running ? now : workflow.ended || now) - workflow.started)}</Fact>
        ) : null}
        {workflow.url && (
          <Fact name="Conductor's UI" long>
            <Copyable text={workflow.url} what="the address in Conductor's UI" />
          </Fact>
        )}
        {workflow.correlation_id && (
          <Fact name="Correlation id" long>
            <Ellipsis text={workflow.correlation_id} />
          </Fact>
        )}
      </dl>
    </header>
  );
}

function Fact({ name, long = false, children }: { name: string; long?: boolean; children: ReactNode }) {
  return (
    <div className={long ? "long" : ""}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Why the workflow stands still, or why it failed: in the words of the task's log. */
export function Cause({ view }: { view: WorkflowView }) {
  const { blocker, failure, needs_user } = view;
  return (
    <>
      {failure && (
        <section className="cause failed" aria-label="Why it failed">
          <CauseIcon shape="warning" />
          <div>
            <h2>Why it failed</h2>
            <p data-testid="failure" className="words" tabIndex={0}>
              {failure}
            </p>
          </div>
        </section>
      )}
      {blocker && (
        <section
          className={`cause ${needs_user ? "urgent" : "waiting"}`}
          aria-label={needs_user ? "Action needed" : "Waiting for"}
        >
          <CauseIcon shape={needs_user ? "warning" : "clock"} />
          <div>
            <h2>{needs_user ? "Action needed" : "Waiting for"}</h2>
            <p data-testid="blocker" data-needs-user={needs_user} className="words">
              {blocker}
            </p>
          </div>
        </section>
      )}
    </>
  );
}

function CauseIcon({ shape }: { shape: "warning" | "clock" }) {
  return (
    <svg viewBox="0 0 20 20" className="cause-icon" aria-hidden="true" focusable="false">
      {shape === "clock" ? (
        <>
          <circle cx="10" cy="10" r="8" />
          <path d="M10 5.5V10l3 2" />
        </>
      ) : (
        <path d="M10 2.2L18.5 17h-17zM10 8v4M10 14.3v.4" />
      )}
    </svg>
  );
}
