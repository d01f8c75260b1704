import { fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { App } from "../src/App";
import type { BatchRow, BatchView, HealthView, RunView } from "../src/api/contract";
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

const row = (item: string, status: string, more: Partial<BatchRow> = {}): BatchRow => ({
  item,
  workflow: { id: `wf-${item}`, name: "ship", version: 1, status, started: NOW, ended: 0 },
  reason: "",
  blocker: "",
  needs_user: false,
  stalled: false,
  failed: false,
  ...more,
});

const batch: BatchView = {
  task: { dag_id: "my dag", run_id: "r", task_id: "many", map_index: 2, state: "deferred", try_number: 1, steps: [] },
  batch: {
    rows: [
      row("A-1", "FAILED", { failed: true, reason: "no <b>paper</b>" }),
      row("A-2", "RUNNING", { needs_user: true, stalled: true, blocker: "no worker polls pack_order" }),
      row("A-3", "COMPLETED"),
    ],
    counts: { failed: 1, running: 1, completed: 4_998 },
    complete: true,
    more: 4_997,
    note: "",
  },
  poll_after: 5,
};

describe("the tab of a batch", () => {
  beforeEach(() => go("/conductor/task?dag_id=my%20dag&run_id=r&task_id=many&map_index=2"));

  it("lists the workflows in the server's order, and says how many are not shown", async () => {
    server.get(/\/workflow$/, { body: batch });
    const { container } = render(<App />);
    const [failed, blocked, completed] = await screen.findAllByTestId("row");
    for (const text of ["A-1", "wf-A-1", "ship", "v1", "FAILED", "no <b>paper</b>"])
      expect(failed!.textContent).toContain(text);
    for (const text of ["A-2", "action needed", "stalled", "no worker polls pack_order"])
      expect(blocked!.textContent).toContain(text);
    expect(completed!.textContent).not.toContain("action needed");
    expect(container.querySelector("b")).toBeNull();
    expect(screen.getByRole("heading", { level: 1 }).textContent).toBe("5,000 Conductor workflows of this batch so far");
    expect(screen.getByTestId("counts").textContent).toBe("1 failed, 1 running, 4,998 completed");
    expect(screen.getByTestId("limit").textContent).toMatch(/^These are 3 of them.*4,997 more are not shown\.$/);
  });

  it("opens the view of a row's workflow, with a way back, also after a reload", async () => {
    server.get(/\/workflow$/, { body: batch });
    server.get(/\?workflow=wf-A-2$/, { body: new Sample().view([], { workflow: { name: "the second" } }) });
    const { unmount } = render(<App />);
    fireEvent.click(within((await screen.findAllByTestId("row"))[1]!).getByRole("button"));
    expect((await screen.findByRole("heading", { level: 1 })).textContent).toBe("the second");
    expect(server.calls.at(-1)!.url).toBe("./api/dags/my%20dag/runs/r/tasks/many/2/workflow?workflow=wf-A-2");
    fireEvent.click(screen.getByTestId("back"));
    expect((await screen.findAllByTestId("row")).length).toBe(3);
    unmount();
    go("/conductor/task?dag_id=my%20dag&run_id=r&task_id=many&map_index=2&workflow=wf-A-2");
    render(<App />);
    expect((await screen.findByRole("heading", { level: 1 })).textContent).toBe("the second");
  });

  it("shows all of a small one, and says why there is none", async () => {
    server.get(/\/workflow$/, { body: { ...batch, batch: { ...batch.batch, more: 0, complete: false } } });
    const { unmount } = render(<App />);
    await screen.findAllByTestId("row");
    expect(screen.queryByTestId("limit")).toBeNull();
    expect(screen.getByRole("heading", { level: 1 }).textContent).toMatch(/^At least 3 /);
    unmount();
    server.get(/\/workflow$/, { body: { ...batch, batch: { ...batch.batch, rows: [], more: 0, note: "None so far" } } });
    render(<App />);
    expect((await screen.findByTestId("empty")).textContent).toContain("None so far");
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
