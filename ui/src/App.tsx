import { useCallback, useEffect, useState } from "react";
import type { TaskInstance } from "./api/contract";
import { placeOf, taskPage, type Place } from "./api/places";
import { Calm } from "./parts/small";
import { TaskView } from "./task/TaskView";
import { HealthView } from "./views/HealthView";
import { RunView } from "./views/RunView";

/** One page for all views: the last segment of the path says which. */
export function App() {
  const [place, setPlace] = useState<Place>(() => placeOf(window.location));
  const [cameFromHere, setCameFromHere] = useState(false);

  useEffect(() => {
    const onPopState = () => {
      setPlace(placeOf(window.location));
      setCameFromHere(isOurs(window.history.state));
    };
    window.addEventListener("popstate", onPopState);
    return () => window.removeEventListener("popstate", onPopState);
  }, []);

  const open = useCallback((task: TaskInstance, workflow?: string) => {
    window.history.pushState({ fromList: true }, "", taskPage(task, workflow));
    setPlace(placeOf(window.location));
    setCameFromHere(true);
  }, []);

  switch (place.view) {
    case "task":
      return (
        <>
          {cameFromHere && (
            <nav className="back">
              <button type="button" className="button" data-testid="back" onClick={() => window.history.back()}>
                ← Back
              </button>
              <span className="ellipsis muted" title={taskTitle(place.task)}>
                {taskTitle(place.task)}
              </span>
            </nav>
          )}
          <TaskView key={JSON.stringify(place)} task={place.task} workflow={place.workflow} onOpen={open} />
        </>
      );
    case "run":
      return <RunView dag_id={place.dag_id} run_id={place.run_id} onOpen={open} />;
    case "health":
      return <HealthView onOpen={open} />;
    default:
      return <Calm title="No such page">Conductor's pages are task, run and health; this one is “{place.path}”.</Calm>;
  }
}

const taskTitle = ({ dag_id, run_id, task_id, map_index }: TaskInstance): string =>
  [dag_id, run_id, map_index >= 0 ? `${task_id} [${map_index}]` : task_id].join(" / ");

const isOurs = (state: unknown): boolean => typeof state === "object" && state !== null && "fromList" in state;
