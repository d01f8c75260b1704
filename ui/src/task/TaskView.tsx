import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { ActionRequest, Attempt, BatchView as Batch, Node, TaskInstance } from "../api/contract";
import type { Workflow, WorkflowVerb, WorkflowView } from "../api/contract";
import { ApiError, postAction } from "../api/http";
import { actionsUrl, workflowUrl } from "../api/places";
import { Graph } from "../graph/Graph";
import { pollAllNow, type Snapshot } from "../live/poller";
import { asTheServerSays, usePoller } from "../live/usePoller";
import { Calm, ErrorBanner, Loading } from "../parts/small";
import { Tabs } from "../parts/Tabs";
import { Timeline } from "../timeline/Timeline";
import { allNodes } from "../tree/summary";
import { AUTO_OPEN, troubleOf } from "../tree/trouble";
import { BatchView } from "../views/BatchView";
import { ActionForm, ASKS_FIRST } from "./ActionForm";
import { TaskContext, type NodeId, type Selection, type TaskContextValue } from "./context";
import { Details } from "./Details";
import { Cause, Header } from "./Header";

type Levels = ReadonlyMap<string, Snapshot<WorkflowView>>;

interface Message {
  text: string;
  bad: boolean;
}

interface Props {
  task: TaskInstance;
  /** one of the many of a batch */
  workflow?: string | undefined;
  onOpen?: (task: TaskInstance, workflow: string) => void;
}

/** One Conductor workflow of one task instance, with the sub-workflows that are open in it; or the list of a batch. */
export function TaskView({ task, workflow, onOpen }: Props) {
  const { data: root, error, pollNow } = usePoller<WorkflowView | Batch>(workflowUrl(task, workflow), asTheServerSays);

  if (!root) {
    if (!error) return <Loading what="the workflow" />;
    if (error.status === 404) return <Calm title="No Conductor workflow to show">{error.message}</Calm>;
    return <ErrorBanner error={error} stale={false} onRetry={pollNow} />;
  }
  if ("batch" in root) {
    return <BatchView data={root} error={error} onRetry={pollNow} onOpen={(id) => onOpen?.(task, id)} />;
  }
  return (
    // A new try of the task may have started another workflow: nothing that was open in the old one is in it.
    <Loaded key={root.workflow.id} task={task} root={root} error={error} onRetry={pollNow} />
  );
}

interface LoadedProps {
  task: TaskInstance;
  root: WorkflowView;
  error: ApiError | null;
  onRetry: () => void;
}

function Loaded({ task, root, error, onRetry }: LoadedProps) {
  const [subs, setSubs] = useState<Levels>(new Map());
  const [opened, setOpened] = useState<ReadonlySet<string>>(new Set());
  const [selection, setSelection] = useState<Selection | null>(null);
  const [tab, setTab] = useState<"graph" | "timeline">("graph");
  const [filter, setFilter] = useState("");
  const [message, setMessage] = useState<Message | null>(null);
  const [asked, setAsked] = useState<{ verb: WorkflowVerb; workflow: Workflow } | null>(null);
  const [busy, setBusy] = useState(false);
  const cameFrom = useRef<HTMLElement | null>(null);

  const levels: Levels = useMemo(
    () => new Map([...subs, [root.workflow.id, { data: root, error: null }]]),
    [subs, root],
  );
  const reachable = useMemo(() => reachableFrom(root, levels, opened), [root, levels, opened]);

  const keep = useCallback((id: string, snapshot: Snapshot<WorkflowView>) => {
    setSubs((before) => new Map(before).set(id, snapshot));
  }, []);
  const toggle = useCallback((id: string) => {
    setOpened((before) => {
      const after = new Set(before);
      if (!after.delete(id)) after.add(id);
      return after;
    });
  }, []);
  const target = useTarget(root, levels, setOpened, setSelection);

  const select = useCallback((next: Selection | null) => {
    if (next && document.activeElement instanceof HTMLElement) cameFrom.current = document.activeElement;
    setSelection(next);
    if (!next) cameFrom.current?.focus();
  }, []);

  const act = useCallback(
    async (request: ActionRequest): Promise<boolean> => {
      setBusy(true);
      setMessage(null);
      try {
        const result = await postAction(actionsUrl(task), request);
        setMessage({ text: result.message, bad: false });
        return true;
      } catch (failure) {
        setMessage({ text: failure instanceof ApiError ? failure.message : String(failure), bad: true });
        return false;
      } finally {
        setBusy(false);
        pollAllNow();
      }
    },
    [task],
  );

  const request = useCallback(
    (verb: WorkflowVerb, workflow: Workflow) => {
      if (ASKS_FIRST.has(verb)) setAsked({ verb, workflow });
      else void act({ verb, workflow: workflow.id });
    },
    [act],
  );

  const context: TaskContextValue = {
    levels,
    opened,
    toggle,
    selection,
    select,
    target,
    filter,
    request,
    busy,
    rootBlocker: root.blocker,
  };
  const selectedView = selection && levels.get(selection.workflow)?.data;

  return (
    <TaskContext value={context}>
      {reachable.map((id) => (
        <LevelFeed key={id} task={task} id={id} onSnapshot={keep} />
      ))}
      <div className="page">
        {error && <ErrorBanner error={error} stale onRetry={onRetry} />}
        <Header view={root} />
        <div aria-live="polite" className="live">
          {message && (
            <div className={`banner ${message.bad ? "error" : "success"}`}>
              <span data-testid="message" data-bad={message.bad}>
                {message.text}
              </span>
              <button type="button" className="button" onClick={() => setMessage(null)}>
                Close
              </button>
            </div>
          )}
        </div>
        {asked && (
          <ActionForm
            verb={asked.verb}
            subject={`workflow ${asked.workflow.name}`}
            busy={busy}
            onSend={(answers) => {
              void act({ verb: asked.verb, workflow: asked.workflow.id, ...answers }).then((done) => {
                if (done) setAsked(null);
              });
            }}
            onCancel={() => setAsked(null)}
          />
        )}
        <Cause view={root} />
        {!root.may_act && (
          <p className="notice" data-testid="no-rights">
            There are no buttons here, because you may not change task instances of DAG {task.dag_id}.
          </p>
        )}
        <div className="main">
          <div className="pane">
            <div className="toolbar">
              <Tabs
                label="Views of the workflow"
                chosen={tab}
                onChoose={setTab}
                tabs={[
                  { id: "graph", text: "Graph" },
                  { id: "timeline", text: "Timeline" },
                ]}
              />
              <input
                type="search"
                className="filter"
                data-testid="filter"
                placeholder="Filter: name, type, status …"
                aria-label="Filter tasks by name, reference, type, status or worker"
                value={filter}
                onChange={(event) => setFilter(event.target.value)}
              />
            </div>
            <div
              className="scroller"
              role="tabpanel"
              id={`panel-${tab}`}
              aria-labelledby={`tab-${tab}`}
              data-testid={tab}
              tabIndex={-1}
            >
              {tab === "graph" ? <Graph view={root} /> : <Timeline view={root} />}
            </div>
          </div>
          {selection && selectedView && (
            <Details
              task={task}
              view={selectedView}
              selection={selection}
              attempts={attemptsOf(selectedView, selection.ref)}
              busy={busy}
              onSelect={setSelection}
              onClose={() => select(null)}
              onAct={act}
            />
          )}
        </div>
      </div>
    </TaskContext>
  );
}

/** Polls one open sub-workflow; it draws nothing, so graph and timeline share what it reads. */
function LevelFeed(props: {
  task: TaskInstance;
  id: string;
  onSnapshot: (id: string, s: Snapshot<WorkflowView>) => void;
}) {
  const { task, id, onSnapshot } = props;
  const { data, error } = usePoller<WorkflowView>(workflowUrl(task, id), asTheServerSays);
  useEffect(() => {
    if (data || error) onSnapshot(id, { data, error });
  }, [id, data, error, onSnapshot]);
  return null;
}

/** As in the style sheet. */
const DETAILS_COVER_THE_GRAPH = "(max-width: 760px)";

/**
 * Says which node to show first, and opens the sub-workflows that lead to it, one level at a time: the step that the
 * Airflow task follows, which is also selected where there is room for its details; of a task that follows the whole workflow, what blocks or failed.
 */
function useTarget(
  root: WorkflowView,
  levels: Levels,
  setOpened: (change: (before: ReadonlySet<string>) => ReadonlySet<string>) => void,
  setSelection: (selection: Selection) => void,
): NodeId | null {
  const [target, setTarget] = useState<NodeId | null>(null);
  const search = useRef({ next: root.workflow.id, opened: 0, done: false });
  const steps = useRef(root.task.steps);
  useEffect(() => {
    const state = search.current;
    if (state.done) return;
    const view = levels.get(state.next)?.data;
    if (!view) return;
    const step = steps.current[state.opened];
    const node = step === undefined ? troubleOf(view) : nodeOf(view, step);
    const found = node && { workflow: view.workflow.id, ref: node.ref };
    if (found) setTarget(found);
    const inside = node?.sub_workflow_id;
    const further = step === undefined ? state.opened < AUTO_OPEN : state.opened < steps.current.length - 1;
    if (inside && further) {
      state.next = inside;
      state.opened += 1;
      setOpened((before) => new Set(before).add(inside));
    } else {
      state.done = true;
      const covers = window.matchMedia(DETAILS_COVER_THE_GRAPH).matches;
      if (found && step !== undefined && !covers) setSelection({ ...found, attempt: null, byPage: true });
    }
  }, [levels, setOpened, setSelection]);
  return target;
}

/** The open sub-workflows whose parents are open, too: only those are polled. */
function reachableFrom(root: WorkflowView, levels: Levels, opened: ReadonlySet<string>): string[] {
  const found = new Set<string>();
  const visit = (view: WorkflowView) => {
    if (opened.size === 0) return;
    for (const { sub_workflow_id: id } of allNodes(view.graph)) {
      if (!id || !opened.has(id) || found.has(id) || id === root.workflow.id) continue;
      found.add(id);
      const inside = levels.get(id)?.data;
      if (inside) visit(inside);
    }
  };
  visit(root);
  return [...found];
}

/** In a loop inside a loop, a task has a node for each iteration of the outer one, all with the same name. */
function attemptsOf(view: WorkflowView, ref: string): Attempt[] {
  const nodes = [...allNodes(view.graph)].filter((node) => node.ref === ref);
  return [...new Set(nodes.flatMap((node) => node.attempts))].flatMap((index) => view.attempts[index] ?? []);
}

function nodeOf(view: WorkflowView, ref: string): Node | null {
  for (const node of allNodes(view.graph)) if (node.ref === ref) return node;
  return null;
}
