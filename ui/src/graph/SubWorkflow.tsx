import type { Node, WorkflowView } from "../api/contract";
import { useTaskContext } from "../task/context";
import { OpenedLevel, OpenToggle } from "../task/Level";
import { Graph } from "./Graph";
import { NodeButton } from "./NodeButton";

export function SubWorkflow({ node, view }: { node: Node; view: WorkflowView }) {
  const { opened } = useTaskContext();
  const id = node.sub_workflow_id;
  const open = id !== "" && opened.has(id);
  return (
    <div className={`box sub ${open ? "open" : ""}`} role="group" aria-label={`Sub-workflow ${node.ref}`}>
      <div className="box-head">
        <NodeButton node={node} view={view} />
        {id !== "" && <OpenToggle id={id} what={node.ref} kind="button" />}
      </div>
      {open && <OpenedLevel id={id}>{(inside) => <Graph view={inside} />}</OpenedLevel>}
    </div>
  );
}
