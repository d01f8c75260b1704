import { describe, expect, it } from "vitest";
import { bytes, duration } from "../src/format";
import { bar, piece, ticks } from "../src/timeline/layout";
import { Sample } from "./samples";

describe("durations", () => {
  it.each([
    [-5, "0 ms"],
    [20, "20 ms"],
    [3140, "3.1 s"],
    [9990, "9.9 s"],
    [42_000, "42 s"],
    [60_000, "1 min"],
    [125_000, "2 min 5 s"],
    [15_000_000, "4 h 10 min"],
    [266_400_000, "3 d 2 h"],
  ])("%i ms is %s", (ms, text) => expect(duration(ms)).toBe(text));

  it.each([
    [12, "12 bytes"],
    [4200, "4.2 kB"],
    [5_100_000, "5.1 MB"],
  ])("%i bytes are %s", (count, text) => expect(bytes(count)).toBe(text));
});

describe("the time axis", () => {
  it("has between two and seven round marks, from a second to years", () => {
    for (const whole of [1, 90, 1000, 61_000, 3_600_000, 9e7, 5e9, 1e12]) {
      const marks = ticks({ from: 0, to: whole });
      expect(marks.length).toBeLessThanOrEqual(7);
      expect(marks[0]).toBe(0);
    }
  });

  it("places a piece in percent, and cuts off what is outside", () => {
    const span = { from: 1000, to: 2000 };
    expect(piece(1500, 1750, span)).toEqual({ left: 50, width: 25 });
    expect(piece(0, 9999, span)).toEqual({ left: 0, width: 100 });
  });

  it("tells waiting for a worker from running", () => {
    const span = { from: 0, to: 100 };
    const base = new Sample();
    base.node("a");
    const attempt = { ...base.attempts[0]!, scheduled: 10, started: 30, ended: 60 };
    expect(bar(attempt, 100, span)).toEqual({ queued: { left: 10, width: 20 }, run: { left: 30, width: 30 } });
    expect(bar({ ...attempt, started: 0, ended: 0 }, 100, span)).toEqual({
      queued: { left: 10, width: 90 },
      run: null,
    });
  });
});
