import { describe, expect, it } from "vitest";
import { bytes, clock, clockWithZone, duration } from "../src/format";
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

describe("times", () => {
  const noon = Date.UTC(2026, 0, 15, 12, 0, 5);

  it.each([
    ['"Asia/Tokyo"', "21:00:05", "21:00:05 GMT+9"],
    ['"UTC"', "12:00:05", "12:00:05 UTC"],
  ])("are shown in the zone that is chosen in Airflow: %s", (zone, time, withZone) => {
    window.localStorage.setItem("timezone", zone);
    expect(clock(noon, noon)).toBe(time);
    expect(clockWithZone(noon, noon)).toBe(withZone);
  });

  it.each([[null], ["not JSON"], ['"Nowhere/Land"'], ["{}"]])("are the browser's with %s chosen", (zone) => {
    if (zone !== null) window.localStorage.setItem("timezone", zone);
    const local = new Date(noon);
    const time = [local.getHours(), local.getMinutes(), local.getSeconds()].map((part) =>
      String(part).padStart(2, "0"),
    );
    expect(clock(noon, noon)).toBe(time.join(":"));
  });

  it("have the date of another day, and are empty when unknown", () => {
    window.localStorage.setItem("timezone", '"Asia/Tokyo"');
    expect(clock(noon, noon + 4 * 3_600_000)).toBe("2026-01-15 21:00:05");
    expect([clock(0, noon), clock(null, noon), clockWithZone(0, noon)]).toEqual(["", "", ""]);
  });
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
