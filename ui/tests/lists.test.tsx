import { fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { App } from "../src/App";
import type { HealthView, RunView } from "../src/api/contract";
import { placeOf, taskPage } from "../src/api/places";
import { NOW, Sample } from "./samples";
import { Server } from "./server";

let server: Server;

beforeEach(() => {
  server = new Server();
  const sample = new Sample();
  server.get(/\/workflow$/, { body: sample.view([sample.node("a")]) });
});

const go = (url: string) => window.history.replaceState(null, "", url);

const run: RunView = {
  rows: [
    {
      task_id: "fulfil",
      map_index: 3,
      state: "deferred",
      try_number: 2,
      conn_id: "conductor_default",
      workflow: { id: "wf-1", name: "order_fulfilment", version: 2, status: "RUNNING", started: NOW, ended: null },
      blocker: "approve waits for somebody",
      needs_user: true,
      error: "",
    },
    {
      task_id: "<b>other</b>",
      map_index: -1,
      state: "failed",
      try_number: 1,
      conn_id: "conductor_default",
      workflow: null,
      blocker: "",
      needs_user: false,
      error: "Conductor is unreachable",
    },
  ],
  more: 7,
  poll_after: null,
};

describe("the run view", () => {
  beforeEach(() => go("/airflow/conductor/run?dag_id=my%20dag&run_id=manual__2026-01-01T00:00:00%2B00:00"));

  it("lists the run's workflows with what they wait for", async () => {
    server.get(/\/workflows$/, { body: run });
    const { container } = render(<App />);
    const [first, second] = await screen.findAllByTestId("row");
    for (const text of [
      "fulfil",
      "[3]",
      "deferred",
      "try 2",
      "order_fulfilment",
      "v2",
      "RUNNING",
      "approve waits for somebody",
      "action needed",
    ])
      expect(first!.textContent).toContain(text);
    expect(second!.textContent).toContain("Conductor is unreachable");
    expect(second!.textContent).toContain("<b>other</b>");
    expect(container.querySelector("b")).toBeNull();
    expect(screen.getByText("7 more workflows are not shown.")).toBeTruthy();
    expect(server.calls[0]!.url).toBe("./api/dags/my%20dag/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00/workflows");
  });

  it("opens a row's workflow in the same frame, with a way back", async () => {
    server.get(/\/workflows$/, { body: run });
    render(<App />);
    fireEvent.click(within((await screen.findAllByTestId("row"))[0]!).getByRole("button"));
    await screen.findByTestId("graph");
    expect(window.location.pathname).toBe("/airflow/conductor/task");
    const query = new URLSearchParams(window.location.search);
    expect(query.get("run_id")).toBe("manual__2026-01-01T00:00:00+00:00");
    expect(query.get("map_index")).toBe("3");
    expect(server.calls.at(-1)!.url).toContain("/tasks/fulfil/3/workflow");
    fireEvent.click(screen.getByTestId("back"));
    await waitFor(() => expect(screen.queryByTestId("graph")).toBeNull());
    expect((await screen.findAllByTestId("row")).length).toBe(2);
    expect(window.location.pathname).toBe("/airflow/conductor/run");
  });

  it("says when there is none", async () => {
    server.get(/\/workflows$/, { body: { rows: [], more: 0, poll_after: 5 } });
    render(<App />);
    expect((await screen.findByTestId("empty")).textContent).toContain("No task of this DAG run");
  });
});

const health: HealthView = {
  connections: [
    {
      conn_id: "conductor_default",
      address: "http://conductor:8080/api",
      ok: true,
      message: "",
      queues_error: "",
      queues: [
        { name: "pack_order", domain: "eu", waiting: 1400, last_poll: null, worker: "", polled: false },
        { name: "ship_order", domain: "", waiting: 2, last_poll: NOW, worker: "w1", polled: true },
      ],
    },
    {
      conn_id: "conductor_far",
      address: "https://far",
      ok: false,
      queues: [],
      queues_error: "",
      message: "https://far is unreachable from Airflow's API server: name not known. Check the host.",
    },
  ],
  waits: [
    {
      dag_id: "orders",
      run_id: "manual__1",
      task_id: "fulfil",
      map_index: -1,
      conn_id: "conductor_default",
      workflow_id: "wf-1",
      workflow_name: "order_fulfilment",
      blocker: "no worker polls pack_order",
      since: NOW,
      stalled: true,
      needs_user: true,
    },
  ],
  more: 0,
  poll_after: null,
};

describe("the health view", () => {
  beforeEach(() => go("/conductor/health"));

  it("shows each connection, and why one cannot be used", async () => {
    server.get(/\.\/api\/health$/, { body: health });
    render(<App />);
    const [good, bad] = await screen.findAllByTestId("connection");
    expect(good!.textContent).toContain("reachable");
    expect(good!.dataset.ok).toBe("true");
    expect(bad!.dataset.ok).toBe("false");
    expect(bad!.textContent).toContain("name not known. Check the host.");
    const [unpolled, polled] = within(good!).getAllByTestId("queue");
    for (const text of ["pack_order", "eu", "1,400", "no worker polls", "never"])
      expect(unpolled!.textContent).toContain(text);
    expect(polled!.dataset.polled).toBe("true");
  });

  it("lists the waits first, and ten queues of a connection until all are asked for", async () => {
    const queues = Array.from({ length: 25 }, (_, at) => ({ ...health.connections[0]!.queues[0]!, name: `queue_${at}` }));
    server.get(/health$/, { body: { ...health, connections: [{ ...health.connections[0]!, queues }] } });
    render(<App />);
    const [card] = await screen.findAllByTestId("connection");
    const row = screen.getByTestId("row");
    expect(row.compareDocumentPosition(card!) & Node.DOCUMENT_POSITION_FOLLOWING).toBeTruthy();
    expect(within(card!).getAllByTestId("queue")).toHaveLength(10);
    fireEvent.click(within(card!).getByTestId("show-queues"));
    expect(within(card!).getAllByTestId("queue")).toHaveLength(25);
  });

  it("names DAG, run and task of a wait, and opens its workflow", async () => {
    server.get(/health$/, { body: health });
    render(<App />);
    const row = await screen.findByTestId("row");
    for (const text of ["orders", "manual__1", "fulfil", "wf-1", "stalled", "no worker polls pack_order"])
      expect(row.textContent).toContain(text);
    fireEvent.click(row);
    expect(await screen.findByTestId("graph")).toBeTruthy();
    expect(server.calls.at(-1)!.url).toBe("./api/dags/orders/runs/manual__1/tasks/fulfil/-1/workflow");
  });

  it("shows an error as a banner", async () => {
    server.get(/health$/, { status: 403, body: { detail: "You may not see this." } });
    render(<App />);
    expect((await screen.findByRole("alert")).textContent).toContain("You may not see this.");
  });
});

describe("addresses", () => {
  it.each([
    ["{MAP_INDEX}", "-1"],
    ["-1", "-1"],
    ["", "-1"],
    ["0", "0"],
    ["12", "12"],
  ])("reads map index %s as %s", async (given, expected) => {
    go(
      `/base/conductor/task?${new URLSearchParams({ dag_id: "a/b", run_id: "r", task_id: "group.task", map_index: given })}`,
    );
    render(<App />);
    await screen.findByTestId("graph");
    expect(server.calls[0]!.url).toBe(`./api/dags/a%2Fb/runs/r/tasks/group.task/${expected}/workflow`);
  });

  it.each(["scheduled__2026-01-01T00:00:00+00:00", "scheduled__2026-01-01T00%3A00%3A00%2B00%3A00"])(
    "reads a run's id as Airflow writes it: %s",
    async (written) => {
      go(`/conductor/task?dag_id=d&run_id=${written}&task_id=t&map_index={MAP_INDEX}`);
      render(<App />);
      await screen.findByTestId("graph");
      const run = encodeURIComponent("scheduled__2026-01-01T00:00:00+00:00");
      expect(server.calls[0]!.url).toBe(`./api/dags/d/runs/${run}/tasks/t/-1/workflow`);
    },
  );

  it("writes a run's id so that it reads the same", () => {
    const task = { dag_id: "d", run_id: "a+b c&d", task_id: "t", map_index: 3 };
    const { search } = new URL(taskPage(task), "http://airflow/conductor/");
    expect(placeOf({ pathname: "/conductor/task", search })).toEqual({ view: "task", task });
  });

  it("has no Back button where there is nothing to go back to", async () => {
    go("/conductor/task?dag_id=d&run_id=r&task_id=t");
    render(<App />);
    await screen.findByTestId("graph");
    expect(screen.queryByTestId("back")).toBeNull();
  });
});
