import type { ReactNode } from "react";
import { WORKFLOW_VERBS, type WorkflowView } from "../api/contract";
import { Copyable, Ellipsis, Loading, StatusBadge } from "../parts/small";
import { ActionButton } from "./ActionButton";
import { useTaskContext } from "./context";

export function OpenToggle({ id, what, kind }: { id: string; what: string; kind: "button" | "chevron" }) {
  const { opened, toggle } = useTaskContext();
  const open = opened.has(id);
  return (
    <button
      type="button"
      className={kind === "button" ? "button small" : "icon-button chevron"}
      data-testid={`open-${what}`}
      aria-expanded={open}
      aria-label={`${open ? "Close" : "Open"} sub-workflow ${what}`}
      onClick={() => toggle(id)}
    >
      {kind === "button" ? (
        open ? (
          "Close"
        ) : (
          "Open"
        )
      ) : (
        <svg viewBox="0 0 16 16" aria-hidden="true" focusable="false">
          <path d={open ? "M4 6l4 4 4-4" : "M6 4l4 4-4 4"} />
        </svg>
      )}
    </button>
  );
}

/** A sub-workflow that is open in place: what it is, what can be done with it, and what is in it. */
export function OpenedLevel({ id, children }: { id: string; children: (view: WorkflowView) => ReactNode }) {
  const { levels, request, busy, rootBlocker } = useTaskContext();
  const level = levels.get(id);
  if (!level) return <Loading what="the sub-workflow" />;
  const { data: view, error } = level;
  return (
    <div className="level" data-testid="level" data-workflow={id}>
      {error && (
        <p className="field-error" role="alert">
          {error.message}
        </p>
      )}
      {view && (
        <>
          <div className="level-head">
            <StatusBadge status={view.workflow.status} />
            <strong>
              <Ellipsis text={view.workflow.name} />
            </strong>
            <Copyable text={view.workflow.id} what="the sub-workflow's id" />
            {view.may_act && (
              <span className="actions" role="group" aria-label={`Actions on sub-workflow ${view.workflow.name}`}>
                {WORKFLOW_VERBS.map((verb) => {
                  const permission = view.actions[verb];
                  return (
                    permission?.allowed && (
                      <ActionButton
                        key={verb}
                        verb={verb}
                        testid={`sub-action-${verb}`}
                        permission={permission}
                        busy={busy}
                        onClick={() => request(verb, view.workflow)}
                      />
                    )
                  );
                })}
              </span>
            )}
          </div>
          {view.blocker && view.blocker !== rootBlocker && <p className="level-blocker">{view.blocker}</p>}
          {children(view)}
        </>
      )}
    </div>
  );
}
