import { describe, expect, it } from "vitest";
import type { Node } from "../src/api/contract";
import { BUDGET, capBranches, capSequence } from "../src/tree/cap";
import { filterTree } from "../src/tree/filter";
import { summaryOfNode } from "../src/tree/summary";
import { troubleOf } from "../src/tree/trouble";
import { Sample, branch } from "./samples";

const many = (count: number, statusOf: (index: number) => string): Node[] => {
  const sample = new Sample();
  return Array.from({ length: count }, (_, index) => sample.node(`n${index}`, statusOf(index)));
};

const refs = (parts: ReturnType<typeof capSequence>) =>
  parts.map((part) => ("hidden" in part ? part.hidden.length : part.item.ref));

describe("a sequence", () => {
  it("that fits is whole", () => {
    const nodes = many(BUDGET, () => "COMPLETED");
    expect(refs(capSequence(nodes, BUDGET, 0))).toEqual(nodes.map(({ ref }) => ref));
  });

  it("that does not fit shows what surrounds the urgent task, in its order", () => {
    const parts = refs(
      capSequence(
        many(1000, (index) => (index === 600 ? "FAILED" : "COMPLETED")),
        20,
        0,
      ),
    );
    expect(parts.length).toBe(22);
    expect(parts[0]).toBe(590);
    expect(parts.slice(1, -1)).toEqual(Array.from({ length: 20 }, (_, index) => `n${590 + index}`));
    expect(parts.at(-1)).toBe(390);
  });

  it("without an urgent task shows its beginning, and more on demand", () => {
    const nodes = many(1000, () => "COMPLETED");
    expect(refs(capSequence(nodes, 20, 0)).slice(-2)).toEqual(["n19", 980]);
    expect(refs(capSequence(nodes, 20, 100)).slice(-2)).toEqual(["n119", 880]);
  });

  it("leaves a gap for each run of hidden tasks", () => {
    const nodes = many(1000, (index) => (index === 100 || index === 900 ? "FAILED" : "COMPLETED"));
    const parts = refs(capSequence(nodes, 20, 0));
    expect(parts.filter((part) => typeof part === "number").length).toBe(3);
    expect(parts).toContain("n900");
  });

  it("hides no handful of tasks behind a button", () => {
    const parts = capSequence([...many(22, () => "COMPLETED")], 20, 0);
    expect(parts.every((part) => "item" in part)).toBe(true);
  });
});

describe("branches", () => {
  it("that fit stay in their order", () => {
    const branches = many(60, (index) => (index === 30 ? "FAILED" : "COMPLETED")).map((node) =>
      branch(node.ref, [node]),
    );
    const { shown, hidden } = capBranches(branches, BUDGET, 0);
    expect(shown.map(({ item }) => item.label)).toEqual(branches.map(({ label }) => label));
    expect(hidden).toEqual([]);
  });

  it("share the budget when each has many tasks", () => {
    const branches = Array.from({ length: 40 }, (_, index) =>
      branch(
        `b${index}`,
        many(100, () => "COMPLETED"),
      ),
    );
    const { shown, hidden } = capBranches(branches, BUDGET, 0);
    expect(shown.length + hidden.length).toBe(40);
    expect(shown[0]!.budget).toBeLessThanOrEqual(10);
  });
});

describe("the filter", () => {
  it("keeps what matches, with the boxes around it", () => {
    const sample = new Sample();
    const inner = sample.node("loop", "COMPLETED", {
      kind: "loop",
      branches: [branch("iteration 1", [sample.node("wanted"), sample.node("other")])],
    });
    const fork = sample.node("fork", "COMPLETED", {
      kind: "fork",
      branches: [branch("branch 1", [inner]), branch("branch 2", [sample.node("x")])],
    });
    const [left] = filterTree([fork, sample.node("y")], "WANT");
    expect(left!.ref).toBe("fork");
    expect(left!.branches.map(({ label }) => label)).toEqual(["branch 1"]);
    expect(left!.branches[0]!.nodes[0]!.branches[0]!.nodes.map(({ ref }) => ref)).toEqual(["wanted"]);
    expect(summaryOfNode(left!).tasks).toBe(3);
  });

  it("reads name, type and status, too", () => {
    const sample = new Sample();
    const nodes = [
      sample.node("a", "FAILED"),
      sample.node("b", "COMPLETED", { type: "HUMAN" }),
      sample.node("c", "", { name: "pack" }),
    ];
    expect(["failed", "human", "pack"].map((text) => filterTree(nodes, text).map(({ ref }) => ref))).toEqual([
      ["a"],
      ["b"],
      ["c"],
    ]);
  });
});

describe("the trouble", () => {
  const sample = new Sample();
  const failed = { workflow: { status: "FAILED" } };
  const cases: [string, Node[], object, string | null][] = [
    ["is what blocks", [sample.node("a", "FAILED"), sample.node("b", "SCHEDULED", { blocked: true })], {}, "b"],
    ["is nothing in a workflow that goes on", [sample.node("a", "FAILED"), sample.node("b", "SCHEDULED")], {}, null],
    ["is what failed", [sample.node("a"), sample.node("b", "TIMED_OUT"), sample.node("c", "CANCELED")], failed, "b"],
    [
      "is not an optional task",
      [sample.node("a", "FAILED", { optional: true }), sample.node("b", "FAILED")],
      failed,
      "b",
    ],
    [
      "is inside of a loop",
      [sample.node("l", "FAILED", { kind: "loop", branches: [branch("i", [sample.node("in", "FAILED")])] })],
      failed,
      "in",
    ],
    [
      "is a task rather than the JOIN that fails with it",
      [sample.node("j", "FAILED", { type: "JOIN" }), sample.node("b", "FAILED")],
      failed,
      "b",
    ],
    ["is the JOIN where nothing else failed", [sample.node("j", "FAILED", { type: "JOIN" })], failed, "j"],
  ];

  it.each(cases)("%s", (_, graph, more, expected) => {
    expect(troubleOf(sample.view(graph, more))?.ref ?? null).toBe(expected);
  });
});
