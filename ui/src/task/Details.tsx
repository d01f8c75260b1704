import { useEffect, useRef, useState } from "react";
import {
  TASK_VERBS,
  type ActionRequest,
  type Attempt,
  type Payload,
  type TaskDetails,
  type TaskInstance,
  type TaskVerb,
  type WorkflowView,
} from "../api/contract";
import { detailsUrl } from "../api/places";
import { attemptDuration, attemptNumber, bytes, clock } from "../format";
import { usePoller } from "../live/usePoller";
import { Copyable, ErrorBanner, Loading, StatusBadge } from "../parts/small";
import { isOpen } from "../status";
import { ActionButton } from "./ActionButton";
import { ActionForm, type Answers } from "./ActionForm";
import type { Selection } from "./context";

interface Props {
  task: TaskInstance;
  view: WorkflowView;
  selection: Selection;
  attempts: Attempt[];
  busy: boolean;
  onSelect: (selection: Selection) => void;
  onClose: () => void;
  onAct: (request: ActionRequest) => Promise<boolean>;
}

/** A worker may write to the log of a running task at any time, which changes nothing in the workflow. */
const LOG_PAUSE = 5;

const pauseAfter = ({ attempt }: TaskDetails): number | null => (attempt && isOpen(attempt.status) ? LOG_PAUSE : null);

export function Details({ task, view, selection, attempts, busy, onSelect, onClose, onAct }: Props) {
  const { workflow, ref, attempt: chosen, byPage } = selection;
  const { data, error, pollNow } = usePoller<TaskDetails>(detailsUrl(task, workflow, ref, chosen), pauseAfter);
  const heading = useRef<HTMLHeadingElement>(null);

  useEffect(() => {
    if (!byPage) heading.current?.focus();
  }, [workflow, ref, byPage]);

  const newest = (chosen && attempts.find(({ id }) => id === chosen)) || attempts.at(-1);
  const revision = newest ? `${newest.id} ${newest.status} ${newest.started} ${newest.ended}` : "";
  const read = useRef(revision);
  useEffect(() => {
    if (read.current !== revision) pollNow();
    read.current = revision;
  });

  return (
    <aside
      className="details"
      data-testid="details"
      aria-label={`Task ${ref}`}
      onKeyDown={(event) => {
        if (event.key === "Escape") onClose();
      }}
    >
      <div className="details-head">
        <h2 ref={heading} tabIndex={-1} title={ref}>
          {ref}
        </h2>
        <button type="button" className="icon-button" aria-label="Close the details" title="Close" onClick={onClose}>
          <svg viewBox="0 0 16 16" aria-hidden="true" focusable="false">
            <path d="M4 4l8 8M12 4l-8 8" />
          </svg>
        </button>
      </div>
      {error && <ErrorBanner error={error} stale={data !== null} onRetry={pollNow} />}
      {data ? (
        <Body key={`${workflow} ${ref}`} {...{ view, selection, attempts, busy, onSelect, onAct, data }} />
      ) : (
        !error && <Loading what="the task" />
      )}
    </aside>
  );
}

type BodyProps = Pick<Props, "view" | "selection" | "attempts" | "busy" | "onSelect" | "onAct"> & { data: TaskDetails };

function Body({ view, selection, attempts, busy, onSelect, onAct, data }: BodyProps) {
  const { attempt } = data;
  return (
    <>
      <p className="muted kind">
        {data.name !== selection.ref && <span className="breaks">{data.name} · </span>}
        {data.type}
        {data.description && <span className="breaks"> · {data.description}</span>}
      </p>
      {attempts.length > 1 && (
        <label className="attempt-choice">
          Attempt
          <select
            data-testid="attempts"
            value={attempt?.id ?? ""}
            onChange={(event) => onSelect({ ...selection, attempt: event.target.value })}
          >
            {attempts.map((each) => (
              <option key={each.id} value={each.id}>
                {`${each.attempt}: ${each.status}${each.scheduled ? `, ${clock(each.scheduled, view.server_time)}` : ""}`}
              </option>
            ))}
          </select>
        </label>
      )}
      {attempt ? <AttemptFacts attempt={attempt} now={view.server_time} /> : <StatusBadge status="" />}
      {data.reason && (
        <section>
          <h3>Reason</h3>
          <p className="words reason" data-testid="reason-text">
            {data.reason}
          </p>
        </section>
      )}
      {view.may_act && <TaskActions {...{ data, selection, busy, onAct }} />}
      <PayloadSection title="Input" payload={data.input} open />
      <PayloadSection title="Output" payload={data.output} open />
      <LogSection data={data} />
      <PayloadSection title="Definition" payload={data.definition} open={attempt === null} />
    </>
  );
}

function AttemptFacts({ attempt, now }: { attempt: Attempt; now: number }) {
  const length = attemptDuration(attempt, now);
  const facts: [string, string][] = [
    ["Attempt", attemptNumber(attempt).replace("attempt ", "")],
    ["Scheduled", clock(attempt.scheduled, now)],
    ["Started", clock(attempt.started, now)],
    ["Ended", clock(attempt.ended, now)],
    ["Duration", length?.text ?? ""],
    ["Worker", attempt.worker],
    ["Domain", attempt.domain],
    ["Polls", attempt.poll_count ? String(attempt.poll_count) : ""],
  ];
  return (
    <>
      <StatusBadge status={attempt.status} />
      <dl className="facts">
        {facts.map(
          ([name, text]) =>
            text && (
              <div key={name}>
                <dt>{name}</dt>
                <dd className="breaks">{text}</dd>
              </div>
            ),
        )}
        <div>
          <dt>Task id</dt>
          <dd>
            <Copyable text={attempt.id} what="the task's id" />
          </dd>
        </div>
      </dl>
    </>
  );
}

type ActionsProps = Pick<Props, "selection" | "busy" | "onAct"> & { data: TaskDetails };

function TaskActions({ data, selection, busy, onAct }: ActionsProps) {
  const [asked, setAsked] = useState<TaskVerb | null>(null);
  const send = async (verb: TaskVerb, answers: Answers) => {
    const subject = verb === "complete" || verb === "fail" ? { task: data.attempt?.id ?? "" } : { ref: selection.ref };
    if (await onAct({ verb, workflow: selection.workflow, ...subject, ...answers })) setAsked(null);
  };
  const offered = TASK_VERBS.filter((verb) => data.actions[verb]);
  if (offered.length === 0) return null;
  return (
    <section>
      <div className="actions" role="group" aria-label="Actions on the task">
        {offered.map((verb) => (
          <ActionButton
            key={verb}
            verb={verb}
            permission={data.actions[verb]!}
            busy={busy}
            expanded={asked === verb}
            onClick={() => setAsked(asked === verb ? null : verb)}
          />
        ))}
      </div>
      {asked && (
        <ActionForm
          key={asked}
          verb={asked}
          subject={selection.ref}
          busy={busy}
          onSend={(answers) => void send(asked, answers)}
          onCancel={() => setAsked(null)}
        />
      )}
    </section>
  );
}

function PayloadSection({ title, payload, open }: { title: string; payload: Payload; open: boolean }) {
  const empty = payload.text === "" || payload.text === "{}" || payload.text === "null";
  if (empty) {
    return (
      <section>
        <h3>
          {title} <span className="muted">none</span>
        </h3>
      </section>
    );
  }
  return (
    <details open={open} className="payload">
      <summary>
        {title} <span className="muted">{bytes(payload.bytes)}</span>
      </summary>
      <pre tabIndex={0} aria-label={title}>
        {payload.text}
      </pre>
      {payload.cut && (
        <p className="muted">
          Only the beginning of {bytes(payload.bytes)} is shown. All of it is in Conductor's own UI.
        </p>
      )}
    </details>
  );
}

function LogSection({ data }: { data: TaskDetails }) {
  const { log, log_error } = data;
  if (log.length === 0 && !log_error) {
    return (
      <section>
        <h3>
          Worker log <span className="muted">none</span>
        </h3>
      </section>
    );
  }
  return (
    <details open className="payload">
      <summary>
        Worker log <span className="muted">{log.length}</span>
      </summary>
      {log_error && <p className="field-error">{log_error}</p>}
      {log.length > 0 && (
        <pre tabIndex={0} aria-label="Worker log" data-testid="log">
          {log.map((line) => `${line}\n`).join("")}
        </pre>
      )}
    </details>
  );
}
