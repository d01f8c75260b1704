import { useId } from "react";
import type { Permission, Verb } from "../api/contract";

export const VERB_WORDS: Record<Verb, string> = {
  pause: "Pause",
  resume: "Resume",
  retry: "Retry from failed task",
  restart: "Restart",
  terminate: "Terminate",
  rerun: "Rerun from this task",
  skip: "Skip",
  complete: "Complete",
  fail: "Fail",
};

interface Props {
  verb: Verb;
  permission: Permission;
  busy: boolean;
  onClick: () => void;
  expanded?: boolean;
  testid?: string;
}

/**
 * One that is not allowed stays reachable by keyboard (`aria-disabled` instead of `disabled`), because its description
 * says why it is not.
 */
export function ActionButton({ verb, permission, busy, onClick, expanded, testid = `action-${verb}` }: Props) {
  const why = useId();
  const { allowed } = permission;
  const danger = verb === "terminate" || verb === "fail";
  return (
    <>
      <button
        type="button"
        className={`button ${danger ? "danger" : ""}`}
        data-testid={testid}
        data-verb={verb}
        aria-disabled={!allowed || busy}
        aria-describedby={allowed ? undefined : why}
        aria-expanded={expanded}
        title={allowed ? undefined : permission.why}
        onClick={allowed && !busy ? onClick : undefined}
      >
        {VERB_WORDS[verb]}
      </button>
      {!allowed && (
        <span id={why} hidden>
          {permission.why}
        </span>
      )}
    </>
  );
}
