import { useEffect, useId, useRef, useState, type FormEvent } from "react";
import type { ActionRequest, Verb } from "../api/contract";
import { VERB_WORDS } from "./ActionButton";

export type Answers = Pick<ActionRequest, "reason" | "output" | "terminal">;

const EXPLAINED: Partial<Record<Verb, string>> = {
  terminate: "Its open tasks are canceled, those of its sub-workflows too. It can be retried or restarted later.",
  restart: "All its tasks run again from the first one. The results of this run are discarded.",
  rerun: "This task runs again, and so do all after it. Their results are discarded.",
  skip: "Conductor marks the task SKIPPED and goes on with what comes after it.",
  complete: "Conductor takes the output below as the task's result, and goes on.",
  fail: "Conductor takes the task as failed, and retries it if its definition says so.",
};

/** Verbs that are sent only after a confirmation, because a click by mistake would cost something. */
export const ASKS_FIRST: ReadonlySet<Verb> = new Set<Verb>([
  "terminate",
  "restart",
  "rerun",
  "skip",
  "complete",
  "fail",
]);

const WITH_REASON: ReadonlySet<Verb> = new Set<Verb>(["terminate", "fail"]);
const WITH_OUTPUT: ReadonlySet<Verb> = new Set<Verb>(["complete", "fail", "skip"]);

/** The object in the text, null for no text, or what is wrong with it. */
export function parseOutput(text: string): { output: Record<string, unknown> | null } | { error: string } {
  if (text.trim() === "") return { output: null };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { error: `The output is not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { error: 'The output must be a JSON object, such as {"approved": true}.' };
  }
  return { output: value as Record<string, unknown> };
}

interface Props {
  verb: Verb;
  subject: string;
  busy: boolean;
  onSend: (answers: Answers) => void;
  onCancel: () => void;
}

/** A dialog in the page's flow: the sandbox of Airflow's frame forbids the browser's own. */
export function ActionForm({ verb, subject, busy, onSend, onCancel }: Props) {
  const [reason, setReason] = useState("");
  const [output, setOutput] = useState("");
  const [terminal, setTerminal] = useState(false);
  const [error, setError] = useState("");
  const box = useRef<HTMLFormElement>(null);
  const id = useId();
  const word = VERB_WORDS[verb];

  useEffect(() => {
    const field = box.current?.querySelector<HTMLElement>("input, textarea, [data-testid=confirm]");
    const before = document.activeElement;
    field?.focus();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const answers: Answers = {};
    if (WITH_REASON.has(verb)) answers.reason = reason.trim() || null;
    if (WITH_OUTPUT.has(verb)) {
      const parsed = parseOutput(output);
      if ("error" in parsed) {
        setError(parsed.error);
        box.current?.querySelector("textarea")?.focus();
        return;
      }
      answers.output = parsed.output;
    }
    if (verb === "fail") answers.terminal = terminal;
    onSend(answers);
  };

  return (
    <div
      role="alertdialog"
      aria-labelledby={`${id}-title`}
      aria-describedby={`${id}-text`}
      data-testid="confirm-dialog"
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        onCancel();
      }}
    >
      <form ref={box} className="action-form" noValidate onSubmit={submit}>
        <strong id={`${id}-title`} className="ellipsis" title={subject}>
          {word}: {subject}
        </strong>
        <p id={`${id}-text`}>{EXPLAINED[verb]}</p>
        {WITH_REASON.has(verb) && (
          <label>
            Reason, kept by Conductor
            <input
              data-testid="reason"
              value={reason}
              maxLength={500}
              autoComplete="off"
              onChange={(event) => setReason(event.target.value)}
            />
          </label>
        )}
        {WITH_OUTPUT.has(verb) && (
          <label>
            Output, a JSON object (may be empty)
            <textarea
              data-testid="output"
              rows={4}
              spellCheck={false}
              value={output}
              aria-invalid={error !== ""}
              aria-describedby={error ? `${id}-error` : undefined}
              onChange={(event) => {
                setOutput(event.target.value);
                setError("");
              }}
            />
          </label>
        )}
        {error && (
          <p id={`${id}-error`} className="field-error" role="alert" data-testid="output-error">
            {error}
          </p>
        )}
        {verb === "fail" && (
          <label className="check">
            <input type="checkbox" checked={terminal} onChange={(event) => setTerminal(event.target.checked)} />
            No retry by Conductor
          </label>
        )}
        <div className="buttons">
          <button
            type="submit"
            className={`button ${verb === "terminate" || verb === "fail" ? "danger-solid" : "solid"}`}
            data-testid="confirm"
            disabled={busy}
          >
            {word}
          </button>
          <button type="button" className="button" data-testid="cancel" onClick={onCancel}>
            Cancel
          </button>
        </div>
      </form>
    </div>
  );
}
