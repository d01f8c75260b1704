import { useMemo, useState } from "react";
import type { Branch, Node, WorkflowView } from "../api/contract";
import { count } from "../format";
import { useTaskContext } from "../task/context";
import { BUDGET, MORE, capBranches, capSequence } from "../tree/cap";
import { filterTree } from "../tree/filter";
import { census, summaryOfBranch } from "../tree/summary";
import { NodeButton } from "./NodeButton";
import { SubWorkflow } from "./SubWorkflow";

/** A workflow from top to bottom: what runs side by side stands side by side, and what contains others is a box. */
export function Graph({ view }: { view: WorkflowView }) {
  const { filter } = useTaskContext();
  const nodes = useMemo(() => filterTree(view.graph, filter), [view.graph, filter]);
  if (view.graph.length === 0) return <p className="muted nothing">This workflow has no tasks.</p>;
  if (nodes.length === 0) return <p className="muted nothing">No task matches the filter.</p>;
  return <Sequence nodes={nodes} view={view} budget={BUDGET} />;
}

interface SequenceProps {
  nodes: readonly Node[];
  view: WorkflowView;
  budget: number;
}

function Sequence({ nodes, view, budget }: SequenceProps) {
  const [extra, setExtra] = useState(0);
  const parts = useMemo(() => capSequence(nodes, budget, extra), [nodes, budget, extra]);
  return (
    <ol className="sequence">
      {parts.map((part) =>
        "hidden" in part ? (
          <li key={`gap before ${part.hidden[0]!.ref}`}>
            <button
              type="button"
              className="button more"
              data-testid="show-more"
              onClick={() => setExtra(extra + MORE)}
            >
              {count(part.hidden.length, "more task")}: show {Math.min(MORE, part.hidden.length)}
            </button>
          </li>
        ) : (
          <li key={part.item.ref}>
            <NodeView node={part.item} view={view} budget={part.budget} />
          </li>
        ),
      )}
    </ol>
  );
}

function NodeView({ node, view, budget }: { node: Node; view: WorkflowView; budget: number }) {
  switch (node.kind) {
    case "sub_workflow":
      return <SubWorkflow node={node} view={view} />;
    case "fork":
    case "switch":
    case "loop":
      return (
        <div className={`box ${node.kind}`} role="group" aria-label={`${node.type} ${node.ref}`}>
          <div className="box-head">
            <NodeButton node={node} view={view} />
            <span className="muted census">{boxText(node)}</span>
          </div>
          <Branches node={node} view={view} budget={budget} />
        </div>
      );
    default:
      return <NodeButton node={node} view={view} />;
  }
}

function boxText({ kind, branches }: Node): string {
  if (kind === "switch") {
    const taken = branches.filter((branch) => branch.taken === true).map(({ label }) => label);
    return taken.length > 0 ? `took ${taken.join(", ")}` : "not decided yet";
  }
  const number = kind === "loop" ? count(branches.length, "iteration") : count(branches.length, "branch", "branches");
  return branches.length > 1 ? `${number}: ${census(branches)}` : number;
}

function Branches({ node, view, budget }: { node: Node; view: WorkflowView; budget: number }) {
  const [extra, setExtra] = useState(0);
  const { shown, hidden } = useMemo(() => capBranches(node.branches, budget, extra), [node.branches, budget, extra]);
  return (
    <>
      <ul className="branches">
        {shown.map(({ item, budget: share }) => (
          <BranchView key={item.label} branch={item} view={view} budget={share} isChoice={node.kind === "switch"} />
        ))}
      </ul>
      {hidden.length > 0 && (
        <button type="button" className="button more" data-testid="show-more" onClick={() => setExtra(extra + MORE)}>
          {count(hidden.length, "more", "more")} ({census(hidden)}): show {Math.min(MORE, hidden.length)} more
        </button>
      )}
    </>
  );
}

interface BranchProps {
  branch: Branch;
  view: WorkflowView;
  budget: number;
  isChoice: boolean;
}

function BranchView({ branch, view, budget, isChoice }: BranchProps) {
  const { filter } = useTaskContext();
  const [opened, setOpened] = useState(false);
  const notTaken = branch.taken === false;
  const folded = notTaken && !opened && filter === "";
  const { tasks } = summaryOfBranch(branch);
  return (
    <li className={`branch ${notTaken ? "not-taken" : ""} ${isChoice && branch.taken ? "taken" : ""}`}>
      <div className="branch-label" title={branch.label}>
        <span className="ellipsis">{branch.label}</span>
        {isChoice && branch.taken !== null && <em>{branch.taken ? "✓ taken" : "not taken"}</em>}
      </div>
      {folded && tasks > 0 && (
        <button type="button" className="link" aria-expanded={false} onClick={() => setOpened(true)}>
          {count(tasks, "task")}: show
        </button>
      )}
      {tasks === 0 && <p className="muted">no tasks</p>}
      {!folded && tasks > 0 && <Sequence nodes={branch.nodes} view={view} budget={budget} />}
    </li>
  );
}
