import { act, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Node, WorkflowView } from "../src/api/contract";
import { TaskView } from "../src/task/TaskView";
import { Sample, TASK, allowed, branch, details, forbidden } from "./samples";
import { Server, setHidden } from "./server";

const WORKFLOW = /\/workflow$/;
const NASTY = `<script>alert("x")</script><img src=x onerror=alert(1)>`;

let server: Server;

beforeEach(() => {
  server = new Server();
  server.get(/\/task\?/, { body: details() });
});

async function show(view: WorkflowView): Promise<HTMLElement> {
  server.get(WORKFLOW, { body: view });
  const { container } = render(<TaskView task={TASK} />);
  await screen.findByTestId("graph");
  return container;
}

const nodes = (container: HTMLElement) => container.querySelectorAll("[data-testid^='node-']");

describe("what is on top", () => {
  it("is the blocker in its own words, and that a user has to act", async () => {
    const sample = new Sample();
    const blocker = "pack_order has been queued since 10:03:12, and no worker has ever polled queue 'pack_order'.";
    await show(
      sample.view([sample.node("pack_order", "SCHEDULED", { blocked: true })], { blocker, needs_user: true }),
    );
    expect(screen.getByTestId("blocker").textContent).toBe(blocker);
    expect(screen.getByTestId("blocker").dataset.needsUser).toBe("true");
    expect(screen.getByRole("heading", { name: "Action needed" })).toBeTruthy();
    expect(screen.queryByTestId("failure")).toBeNull();
  });

  it("is the failure with its line breaks", async () => {
    const sample = new Sample();
    const failure = "pack_order failed\n  reason: no paper\n  what to do: retry";
    await show(
      sample.view([sample.node("pack_order", "FAILED")], { failure, workflow: { status: "FAILED" }, poll_after: null }),
    );
    expect(screen.getByTestId("failure").textContent).toBe(failure);
    expect(screen.queryByTestId("blocker")).toBeNull();
  });

  it("is the workflow with version, status, id and the address of Conductor's UI, and no link that the sandbox forbids", async () => {
    const sample = new Sample();
    const url = "http://conductor:8080/execution/wf-1";
    const container = await show(sample.view([sample.node("a")], { workflow: { url } }));
    const header = container.querySelector("header")!;
    for (const text of ["order_fulfilment", "version 2", "RUNNING", "wf-1", url])
      expect(header.textContent).toContain(text);
    expect(container.querySelector("a")).toBeNull();
    expect(screen.getByRole("button", { name: "Copy the workflow's id" })).toBeTruthy();
  });

  it("says calmly that a task has no workflow", async () => {
    server.get(WORKFLOW, { status: 404, body: { detail: "This task has no Conductor workflow." } });
    render(<TaskView task={TASK} />);
    expect((await screen.findByTestId("empty")).textContent).toContain("This task has no Conductor workflow.");
    expect(screen.queryByRole("alert")).toBeNull();
  });

  it("keeps what was read when a later poll fails", async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true });
    const sample = new Sample();
    await show(sample.view([sample.node("a")]));
    server.get(WORKFLOW, { status: 502, body: { detail: "Conductor is unreachable from Airflow's API server." } });
    await act(() => vi.advanceTimersByTimeAsync(2500));
    expect(screen.getByTestId("error").textContent).toContain("Conductor is unreachable from Airflow's API server.");
    expect(screen.getByTestId("node-a")).toBeTruthy();
  });
});

describe("untrusted text", () => {
  it("is text wherever it comes from", async () => {
    const sample = new Sample();
    const graph = [
      sample.node(NASTY, "FAILED", {
        name: NASTY,
        type: NASTY,
        blocked: true,
        attempt: { worker: NASTY, reason: NASTY },
      }),
      sample.node("fork", "COMPLETED", { kind: "switch", branches: [branch(NASTY, [sample.node("inner")])] }),
      sample.node("sub", "FAILED", { kind: "sub_workflow" }),
    ];
    const workflow = { name: NASTY, url: "javascript:alert(1)", correlation_id: NASTY, status: NASTY };
    server.get(/\/task\?/, {
      body: details({
        name: NASTY,
        description: NASTY,
        reason: NASTY,
        input: { text: NASTY, bytes: 1, cut: false },
        output: { text: NASTY, bytes: 1, cut: true },
        log: [NASTY],
        log_error: NASTY,
      }),
    });
    const container = await show(sample.view(graph, { blocker: NASTY, failure: NASTY, workflow }));
    fireEvent.click(screen.getByTestId(`node-${NASTY}`));
    expect((await screen.findByTestId("log")).textContent).toContain(NASTY);
    fireEvent.click(screen.getByTestId("view-timeline"));
    expect(screen.getByTestId(`bar-${NASTY}`)).toBeTruthy();
    for (const tag of ["script", "img", "a", "iframe"]) expect(container.querySelector(tag)).toBeNull();
  });

  it("is cut off on the screen and whole in the tooltip", async () => {
    const long = "n".repeat(300);
    const sample = new Sample();
    await show(sample.view([sample.node(long)]));
    const node = screen.getByTestId(`node-${long}`);
    expect(node.title).toContain(long);
    expect(node.querySelector(".node-name.ellipsis")?.textContent).toBe(long);
  });
});

describe("the graph", () => {
  it("names a node for those who cannot see it", async () => {
    const sample = new Sample();
    await show(sample.view([sample.node("pack_order", "FAILED", { tries: 2 })]));
    expect(
      screen.getByRole("button", { name: "pack_order, SIMPLE, FAILED, attempt 2 of 4, 3.1 s, worker w1" }),
    ).toBeTruthy();
  });

  it("says which branch a switch took, and folds the other", async () => {
    const sample = new Sample();
    const express = branch("case express", [sample.node("courier")], true);
    const economy = branch("default", [sample.node("pallet", "")], false);
    await show(
      sample.view([
        sample.node("speed", "COMPLETED", { kind: "switch", type: "SWITCH", branches: [express, economy] }),
      ]),
    );
    const box = within(screen.getByRole("group", { name: "SWITCH speed" }));
    expect(box.getByText("took case express")).toBeTruthy();
    expect(box.getByText("not taken")).toBeTruthy();
    expect(screen.getByTestId("node-courier")).toBeTruthy();
    expect(screen.queryByTestId("node-pallet")).toBeNull();
    fireEvent.click(box.getByRole("button", { name: "1 task: show" }));
    expect(screen.getByTestId("node-pallet").dataset.status).toBe("");
  });

  it("draws each state with a shape and a word of its own", async () => {
    const sample = new Sample();
    const statuses = [
      "",
      "SCHEDULED",
      "IN_PROGRESS",
      "COMPLETED",
      "COMPLETED_WITH_ERRORS",
      "FAILED",
      "FAILED_WITH_TERMINAL_ERROR",
      "TIMED_OUT",
      "CANCELED",
      "SKIPPED",
    ];
    await show(sample.view(statuses.map((status) => sample.node(`n${status}`, status))));
    const drawings = statuses.map((status) => {
      const node = screen.getByTestId(`node-n${status}`);
      expect(node.textContent).toContain(status || "not reached");
      return node.querySelector("svg")!.innerHTML;
    });
    expect(new Set(drawings).size).toBe(statuses.length);
  });

  it.each([
    [
      "a fork of 5,000 branches",
      (sample: Sample) => [
        fork(sample, 5000, (index) => [sample.node(`n${index}`, index === 4321 ? "FAILED" : "COMPLETED")]),
      ],
      "n4321",
    ],
    [
      "a loop of 1,000 iterations",
      (sample: Sample) => [
        fork(
          sample,
          1000,
          (index) => [sample.node(`n${index}`, index === 999 ? "IN_PROGRESS" : "COMPLETED"), sample.node(`m${index}`)],
          "loop",
        ),
      ],
      "n999",
    ],
    [
      "a sequence of 5,000 tasks",
      (sample: Sample) =>
        Array.from({ length: 5000 }, (_, index) =>
          sample.node(`n${index}`, index < 4000 ? "COMPLETED" : index === 4000 ? "SCHEDULED" : "", {
            blocked: index === 4000,
          }),
        ),
      "n4000",
    ],
    [
      "70 branches of 70 tasks",
      (sample: Sample) => [
        fork(sample, 70, (index) =>
          Array.from({ length: 70 }, (_, at) =>
            sample.node(`n${index}_${at}`, index === 66 && at === 66 ? "FAILED" : "COMPLETED"),
          ),
        ),
      ],
      "n66_66",
    ],
  ])("shows the urgent part of %s, and more on demand", async (_, build, urgent) => {
    const sample = new Sample();
    const container = await show(sample.view(build(sample)));
    const before = nodes(container).length;
    expect(before).toBeLessThan(1300);
    expect(screen.getByTestId(`node-${urgent}`)).toBeTruthy();
    fireEvent.click(screen.getAllByTestId("show-more")[0]!);
    expect(nodes(container).length).toBeGreaterThan(before);
    fireEvent.change(screen.getByTestId("filter"), { target: { value: urgent } });
    expect(screen.getByTestId(`node-${urgent}`)).toBeTruthy();
    expect(nodes(container).length).toBeLessThan(30);
    fireEvent.change(screen.getByTestId("filter"), { target: { value: "no such task" } });
    expect(nodes(container).length).toBe(0);
  });

  it("shows at most 60 of many branches, the urgent ones first", async () => {
    const sample = new Sample();
    const statuses = new Map([
      [4000, "FAILED"],
      [4500, "IN_PROGRESS"],
    ]);
    const graph = [
      fork(sample, 5000, (index) => [
        sample.node(`n${index}`, statuses.get(index) ?? "COMPLETED", { blocked: index === 4900 }),
      ]),
    ];
    const container = await show(sample.view(graph));
    const shown = [...nodes(container)].map((node) => node.getAttribute("data-testid"));
    expect(shown.length).toBe(61);
    expect(shown.slice(1, 5)).toEqual(["node-n4900", "node-n4000", "node-n4500", "node-n0"]);
    expect(screen.getByText("5,000 branches: 1 blocked, 1 failed, 1 running, 4,997 ended")).toBeTruthy();
    fireEvent.click(screen.getByTestId("show-more"));
    expect(nodes(container).length).toBe(161);
  });
});

function fork(sample: Sample, count: number, inside: (index: number) => Node[], kind: "fork" | "loop" = "fork"): Node {
  const branches = Array.from({ length: count }, (_, index) => branch(`${kind} ${index}`, inside(index)));
  return sample.node("many", "COMPLETED", { kind, type: "FORK_JOIN_DYNAMIC", branches });
}

describe("sub-workflows", () => {
  /** `depth` workflows, each of which fails in the next one; the last fails in a task. */
  function nested(depth: number): void {
    const level = (at: number): WorkflowView => {
      const sample = new Sample();
      const last = at === depth;
      const failing = last
        ? sample.node("culprit", "FAILED")
        : sample.node(`sub${at}`, "FAILED", {
            kind: "sub_workflow",
            type: "SUB_WORKFLOW",
            sub_workflow_id: `wf-${at + 1}`,
          });
      return sample.view([sample.node(`first${at}`), failing], {
        poll_after: null,
        workflow: { id: `wf-${at}`, name: `level ${at}`, status: "FAILED" },
      });
    };
    server.get(WORKFLOW, { body: level(1) });
    for (let at = 2; at <= depth; at += 1) server.get(new RegExp(`workflow=wf-${at}$`), { body: level(at) });
  }

  it("open by themselves down to what failed", async () => {
    nested(3);
    render(<TaskView task={TASK} />);
    expect(await screen.findByTestId("node-culprit")).toBeTruthy();
    expect(server.callsOf("GET", /workflow=/).map(({ url }) => url.split("=")[1])).toEqual(["wf-2", "wf-3"]);
  });

  it("open by themselves five levels deep, and deeper on a click", async () => {
    nested(8);
    render(<TaskView task={TASK} />);
    const sixth = await screen.findByTestId("open-sub6");
    expect(sixth.getAttribute("aria-expanded")).toBe("false");
    expect(screen.queryByTestId("node-first7")).toBeNull();
    fireEvent.click(sixth);
    expect(await screen.findByTestId("node-first7")).toBeTruthy();
    expect(screen.queryByTestId("node-first8")).toBeNull();
  });

  it("stay closed when all is well, and are read only while they are open", async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true });
    const outer = new Sample();
    const inner = new Sample();
    server.get(/workflow=wf-2$/, { body: inner.view([inner.node("inside")], { workflow: { id: "wf-2" } }) });
    await show(outer.view([outer.node("sub", "IN_PROGRESS", { kind: "sub_workflow", sub_workflow_id: "wf-2" })]));
    expect(server.callsOf("GET", /workflow=/)).toEqual([]);
    fireEvent.click(screen.getByTestId("open-sub"));
    await screen.findByTestId("node-inside");
    await act(() => vi.advanceTimersByTimeAsync(2100));
    const read = () => server.callsOf("GET", /workflow=/).length;
    expect(read()).toBeGreaterThan(1);
    fireEvent.click(screen.getByTestId("open-sub"));
    expect(screen.queryByTestId("node-inside")).toBeNull();
    const before = read();
    await act(() => vi.advanceTimersByTimeAsync(10_000));
    expect(read()).toBe(before);
  });

  it("are not opened for a failed optional task of a workflow that goes on", async () => {
    const sample = new Sample();
    await show(
      sample.view([
        sample.node("sub", "FAILED", { kind: "sub_workflow", sub_workflow_id: "wf-2", optional: true }),
        sample.node("next", "IN_PROGRESS"),
      ]),
    );
    expect(screen.getByTestId("open-sub").getAttribute("aria-expanded")).toBe("false");
  });

  it("open in the timeline, too", async () => {
    nested(3);
    render(<TaskView task={TASK} />);
    await screen.findByTestId("node-culprit");
    fireEvent.click(screen.getByTestId("view-timeline"));
    expect(screen.getByTestId("bar-culprit")).toBeTruthy();
    fireEvent.click(screen.getByTestId("open-sub1"));
    expect(screen.queryByTestId("bar-culprit")).toBeNull();
  });
});

describe("a task of a loop inside a loop", () => {
  it("has a node for each iteration of the outer loop, and all attempts in its details", async () => {
    const sample = new Sample();
    const first = sample.node("step__1", "FAILED");
    const second = sample.node("step__1", "COMPLETED");
    const outer = sample.node("outer", "IN_PROGRESS", {
      kind: "loop",
      branches: [branch("iteration 1", [first]), branch("iteration 2", [second])],
    });
    await show(sample.view([outer]));
    const nodes = screen.getAllByTestId("node-step__1");
    expect(nodes.map((node) => node.dataset.status)).toEqual(["FAILED", "COMPLETED"]);
    fireEvent.click(nodes[1]!);
    expect((await screen.findByTestId("attempts")).querySelectorAll("option")).toHaveLength(2);
  });
});

describe("the step that a task of a task group follows", () => {
  const task = (...steps: string[]) => ({ ...TASK, state: "deferred", try_number: 1, steps });

  it("is selected, and the focus stays where it is", async () => {
    const sample = new Sample();
    const before = document.activeElement;
    await show(sample.view([sample.node("pack"), sample.node("ship", "FAILED")], { task: task("pack") }));
    const panel = await screen.findByTestId("details");
    expect(within(panel).getByRole("heading", { name: "pack" })).toBeTruthy();
    expect(screen.getByTestId("node-pack").getAttribute("aria-pressed")).toBe("true");
    expect(document.activeElement).toBe(before);
    fireEvent.click(screen.getByTestId("node-ship"));
    expect(document.activeElement).toBe(within(panel).getByRole("heading", { name: "ship" }));
  });

  it("is found in its sub-workflow, which opens by itself", async () => {
    const inner = new Sample();
    server.get(/workflow=wf-2$/, { body: inner.view([inner.node("label")], { workflow: { id: "wf-2" } }) });
    const outer = new Sample();
    const deliver = outer.node("deliver", "IN_PROGRESS", { kind: "sub_workflow", sub_workflow_id: "wf-2" });
    await show(outer.view([deliver], { task: task("deliver", "label") }));
    await waitFor(() => expect(screen.getByTestId("node-label").getAttribute("aria-pressed")).toBe("true"));
    expect(screen.getByTestId("node-deliver").getAttribute("aria-pressed")).toBe("false");
  });

  it("is that around it where its sub-workflow has not begun", async () => {
    const sample = new Sample();
    const deliver = sample.node("deliver", "", { kind: "sub_workflow" });
    await show(sample.view([deliver], { task: task("deliver", "label") }));
    await waitFor(() => expect(screen.getByTestId("node-deliver").getAttribute("aria-pressed")).toBe("true"));
  });

  it("is only brought into view where its details would cover the graph", async () => {
    vi.mocked(window.matchMedia).mockImplementation(
      (query) => ({ matches: query === "(max-width: 760px)", addEventListener: vi.fn() }) as unknown as MediaQueryList,
    );
    const sample = new Sample();
    await show(sample.view([sample.node("pack")], { task: task("pack") }));
    expect(screen.getByTestId("node-pack").getAttribute("aria-pressed")).toBe("false");
    expect(screen.queryByTestId("details")).toBeNull();
  });

  it("stays closed once the user has closed it", async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true });
    const sample = new Sample();
    await show(sample.view([sample.node("pack", "SCHEDULED")], { task: task("pack") }));
    fireEvent.click(await screen.findByRole("button", { name: "Close the details" }));
    const later = new Sample();
    server.get(WORKFLOW, { body: later.view([later.node("pack")], { task: task("pack") }) });
    await act(() => vi.advanceTimersByTimeAsync(2500));
    expect(screen.getByTestId("node-pack").dataset.status).toBe("COMPLETED");
    expect(screen.queryByTestId("details")).toBeNull();
  });
});

describe("the timeline", () => {
  it("has a row for each attempt, and is reached with the arrow keys", async () => {
    const sample = new Sample();
    await show(sample.view([sample.node("a", "COMPLETED", { tries: 3 }), sample.node("b", "")]));
    const graph = screen.getByRole("tab", { name: "Graph" });
    graph.focus();
    fireEvent.keyDown(graph, { key: "ArrowRight" });
    const timeline = screen.getByRole("tab", { name: "Timeline" });
    expect(document.activeElement).toBe(timeline);
    expect(timeline.getAttribute("aria-selected")).toBe("true");
    expect(screen.getByTestId("timeline")).toBeTruthy();
    expect(screen.getAllByTestId("bar-a").length).toBe(3);
    expect(screen.queryByTestId("bar-b")).toBeNull();
    expect(screen.getByRole("button", { name: "a, SIMPLE, COMPLETED, attempt 3 of 4, 3.1 s, worker w1" })).toBeTruthy();
  });

  it("shows 100 of many attempts, the urgent ones among them", async () => {
    const sample = new Sample();
    await show(
      sample.view([fork(sample, 5000, (index) => [sample.node(`n${index}`, index === 4321 ? "FAILED" : "COMPLETED")])]),
    );
    fireEvent.click(screen.getByTestId("view-timeline"));
    const rows = () => screen.getByTestId("timeline").querySelectorAll("[data-testid^='bar-']").length;
    expect(rows()).toBe(100);
    expect(screen.getByTestId("bar-n4321")).toBeTruthy();
    fireEvent.click(screen.getByTestId("show-more"));
    expect(rows()).toBe(200);
  });
});

describe("the details", () => {
  it("are read on a click, with all attempts to choose from", async () => {
    const sample = new Sample();
    const view = sample.view([sample.node("pack_order", "FAILED", { tries: 2 })]);
    server.get(/\/task\?/, ({ url }) => {
      const id = new URLSearchParams(url.split("?")[1]).get("id");
      const attempt = view.attempts.find((each) => each.id === (id ?? "pack_order-2"))!;
      return { body: details({ attempt, reason: `reason of ${attempt.id}`, log: ["  no paper"] }) };
    });
    await show(view);
    fireEvent.click(screen.getByTestId("node-pack_order"));
    const panel = await screen.findByTestId("details");
    expect((await within(panel).findByTestId("reason-text")).textContent).toBe("reason of pack_order-2");
    expect(within(panel).getByTestId("log").textContent).toContain("  no paper");
    fireEvent.change(within(panel).getByTestId("attempts"), { target: { value: "pack_order-1" } });
    await waitFor(() => expect(within(panel).getByTestId("reason-text").textContent).toBe("reason of pack_order-1"));
  });

  it("take the focus, and give it back on Escape", async () => {
    const sample = new Sample();
    await show(sample.view([sample.node("a")]));
    const node = screen.getByTestId("node-a");
    node.focus();
    fireEvent.click(node);
    const panel = await screen.findByTestId("details");
    expect(document.activeElement).toBe(within(panel).getByRole("heading", { name: "a" }));
    fireEvent.keyDown(panel, { key: "Escape" });
    expect(screen.queryByTestId("details")).toBeNull();
    expect(document.activeElement).toBe(node);
  });

  it("are read again when the task's state changes", async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true });
    const sample = new Sample();
    const before = sample.view([sample.node("a", "SCHEDULED")]);
    server.get(/\/task\?/, { body: details({ attempt: { ...before.attempts[0]!, status: "COMPLETED" } }) });
    await show(before);
    fireEvent.click(screen.getByTestId("node-a"));
    await screen.findByTestId("details");
    expect(server.callsOf("GET", /\/task\?/).length).toBe(1);
    const later = new Sample();
    server.get(WORKFLOW, { body: later.view([later.node("a", "COMPLETED")]) });
    await act(() => vi.advanceTimersByTimeAsync(2500));
    await waitFor(() => expect(server.callsOf("GET", /\/task\?/).length).toBe(2));
  });
});

describe("actions", () => {
  const POSTED = /\/actions$/;

  it("are enabled only where they are allowed; the others say why not", async () => {
    const sample = new Sample();
    await show(sample.view([sample.node("a")]));
    const resume = screen.getByTestId("action-resume");
    expect(resume.getAttribute("aria-disabled")).toBe("true");
    expect(resume.title).toBe("The workflow is RUNNING, not PAUSED.");
    expect(document.getElementById(resume.getAttribute("aria-describedby")!)?.textContent).toBe(resume.title);
    fireEvent.click(resume);
    expect(screen.getByTestId("action-pause").getAttribute("aria-disabled")).toBe("false");
    expect(server.callsOf("POST", POSTED)).toEqual([]);
  });

  it("are not there without the right to act, and a line says so", async () => {
    const sample = new Sample();
    const container = await show(sample.view([sample.node("a")], { may_act: false }));
    fireEvent.click(screen.getByTestId("node-a"));
    await screen.findByTestId("details");
    await waitFor(() => expect(server.callsOf("GET", /\/task\?/).length).toBe(1));
    expect(container.querySelector("[data-testid^='action-']")).toBeNull();
    expect(screen.getByTestId("no-rights").textContent).toContain("orders");
  });

  it("are sent as JSON with the header that other sites cannot set; the page says what happened, and polls at once", async () => {
    const sample = new Sample();
    server.post(POSTED, { body: { message: "paused workflow wf-1, which was RUNNING", changed: true } });
    // It has no next poll of its own, so the second one is due to the action.
    await show(sample.view([sample.node("a")], { poll_after: null }));
    fireEvent.click(screen.getByTestId("action-pause"));
    const message = await screen.findByTestId("message");
    expect(message.textContent).toBe("paused workflow wf-1, which was RUNNING");
    expect(message.closest("[aria-live]")).toBeTruthy();
    const [call] = server.callsOf("POST", POSTED);
    expect(call!.url).toBe("./api/dags/orders/runs/manual__1/tasks/fulfil/-1/actions");
    expect(call!.headers).toMatchObject({ "Content-Type": "application/json", "X-Conductor-Request": "airflow-ui" });
    expect(call!.body).toEqual({ verb: "pause", workflow: "wf-1" });
    await waitFor(() => expect(server.callsOf("GET", WORKFLOW).length).toBeGreaterThan(1));
  });

  it("that the server refuses are shown with its reason", async () => {
    const sample = new Sample();
    server.post(POSTED, { status: 409, body: { detail: "The workflow has ended already." } });
    await show(sample.view([sample.node("a")]));
    fireEvent.click(screen.getByTestId("action-pause"));
    expect((await screen.findByTestId("message")).textContent).toBe("The workflow has ended already.");
    expect(screen.getByTestId("message").dataset.bad).toBe("true");
  });

  it("that cost something ask first", async () => {
    const sample = new Sample();
    server.post(POSTED, { body: { message: "terminated", changed: true } });
    await show(sample.view([sample.node("a")]));
    fireEvent.click(screen.getByTestId("action-terminate"));
    expect(document.activeElement).toBe(screen.getByTestId("reason"));
    fireEvent.click(screen.getByTestId("cancel"));
    expect(screen.queryByTestId("confirm-dialog")).toBeNull();
    fireEvent.click(screen.getByTestId("action-terminate"));
    fireEvent.keyDown(screen.getByTestId("confirm-dialog"), { key: "Escape" });
    expect(screen.queryByTestId("confirm-dialog")).toBeNull();
    expect(server.callsOf("POST", POSTED)).toEqual([]);
    fireEvent.click(screen.getByTestId("action-terminate"));
    fireEvent.change(screen.getByTestId("reason"), { target: { value: "wrong order" } });
    fireEvent.click(screen.getByTestId("confirm"));
    await screen.findByTestId("message");
    expect(server.callsOf("POST", POSTED)[0]!.body).toEqual({
      verb: "terminate",
      workflow: "wf-1",
      reason: "wrong order",
    });
    await waitFor(() => expect(screen.queryByTestId("confirm-dialog")).toBeNull());
  });

  it("restart asks first, too", async () => {
    const sample = new Sample();
    server.post(POSTED, { body: { message: "restarted", changed: true } });
    await show(
      sample.view([sample.node("a", "FAILED")], { actions: { restart: allowed }, workflow: { status: "FAILED" } }),
    );
    fireEvent.click(screen.getByTestId("action-restart"));
    expect(server.callsOf("POST", POSTED)).toEqual([]);
    fireEvent.click(screen.getByTestId("confirm"));
    await screen.findByTestId("message");
    expect(server.callsOf("POST", POSTED)[0]!.body).toEqual({ verb: "restart", workflow: "wf-1" });
  });

  async function openTask(): Promise<void> {
    const sample = new Sample();
    const view = sample.view([sample.node("approve", "IN_PROGRESS", { type: "HUMAN" })]);
    server.get(/\/task\?/, { body: details({ attempt: view.attempts[0]! }) });
    server.post(POSTED, { body: { message: "done", changed: true } });
    await show(view);
    fireEvent.click(screen.getByTestId("node-approve"));
    await screen.findByTestId("action-complete");
  }

  it.each([
    ["{", /not JSON/],
    ["[1]", /must be a JSON object/],
    ['"yes"', /must be a JSON object/],
    ["null", /must be a JSON object/],
  ])("refuse %s as output before anything is sent", async (text, words) => {
    await openTask();
    fireEvent.click(screen.getByTestId("action-complete"));
    fireEvent.change(screen.getByTestId("output"), { target: { value: text } });
    fireEvent.click(screen.getByTestId("confirm"));
    expect(screen.getByTestId("output-error").textContent).toMatch(words);
    expect(screen.getByTestId("output").getAttribute("aria-invalid")).toBe("true");
    expect(server.callsOf("POST", POSTED)).toEqual([]);
  });

  it("complete a task with an output", async () => {
    await openTask();
    fireEvent.click(screen.getByTestId("action-complete"));
    fireEvent.change(screen.getByTestId("output"), { target: { value: '{"approved": true}' } });
    fireEvent.click(screen.getByTestId("confirm"));
    await screen.findByTestId("message");
    expect(server.callsOf("POST", POSTED)[0]!.body).toEqual({
      verb: "complete",
      workflow: "wf-1",
      task: "approve-1",
      output: { approved: true },
    });
  });

  it("fail a task with a reason, without a retry by Conductor", async () => {
    await openTask();
    fireEvent.click(screen.getByTestId("action-fail"));
    fireEvent.change(screen.getByTestId("reason"), { target: { value: "not approved" } });
    fireEvent.click(screen.getByRole("checkbox"));
    fireEvent.click(screen.getByTestId("confirm"));
    await screen.findByTestId("message");
    expect(server.callsOf("POST", POSTED)[0]!.body).toEqual({
      verb: "fail",
      workflow: "wf-1",
      task: "approve-1",
      reason: "not approved",
      output: null,
      terminal: true,
    });
  });

  it("rerun from a task by its reference", async () => {
    await openTask();
    fireEvent.click(screen.getByTestId("action-rerun"));
    fireEvent.click(screen.getByTestId("confirm"));
    await screen.findByTestId("message");
    expect(server.callsOf("POST", POSTED)[0]!.body).toEqual({ verb: "rerun", workflow: "wf-1", ref: "approve" });
  });

  it("reach an opened sub-workflow", async () => {
    const outer = new Sample();
    const inner = new Sample();
    server.post(POSTED, { body: { message: "retried", changed: true } });
    const actions = { retry: allowed, pause: forbidden("It has ended.") };
    server.get(/workflow=wf-2$/, {
      body: inner.view([inner.node("culprit", "FAILED")], { actions, workflow: { id: "wf-2", status: "FAILED" } }),
    });
    const sub = outer.node("sub", "FAILED", { kind: "sub_workflow", sub_workflow_id: "wf-2" });
    await show(outer.view([sub], { workflow: { status: "FAILED" } }));
    fireEvent.click(await screen.findByTestId("sub-action-retry"));
    await screen.findByTestId("message");
    expect(screen.queryByTestId("sub-action-pause")).toBeNull();
    expect(server.callsOf("POST", POSTED)[0]!.body).toEqual({ verb: "retry", workflow: "wf-2" });
  });
});

describe("a page that nobody looks at", () => {
  it("polls nothing", async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true });
    const sample = new Sample();
    await show(sample.view([sample.node("a", "IN_PROGRESS")]));
    act(() => setHidden(true));
    const before = server.calls.length;
    await act(() => vi.advanceTimersByTimeAsync(60_000));
    expect(server.calls.length).toBe(before);
    act(() => setHidden(false));
    await waitFor(() => expect(server.calls.length).toBeGreaterThan(before));
  });
});
