import type { Attempt, Time } from "./api/contract";
import { moment } from "./timezone";

/** 3.1 s, 2 min 5 s, 4 h 10 min, 3 d 2 h */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${(Math.floor(seconds * 10) / 10).toFixed(1)} s`;
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (big: number, unit: string, small: number, smaller: string) =>
    small === 0 ? `${big} ${unit}` : `${big} ${unit} ${small} ${smaller}`;
  if (whole < 3600) return two(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86400) return two(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
  return two(Math.floor(whole / 86400), "d", Math.floor((whole % 86400) / 3600), "h");
}

/** The time of day, with the date unless it is the day of `reference`. */
export function clock(time: Time, reference: number): string {
  if (!time) return "";
  const shown = moment(time);
  return shown.date === moment(reference).date ? shown.time : `${shown.date} ${shown.time}`;
}

/** The same with the time zone, as the log's messages have it. */
export const clockWithZone = (time: Time, reference: number): string =>
  time ? `${clock(time, reference)} ${moment(time).zone}` : "";

export function bytes(count: number): string {
  if (count < 1000) return `${count} bytes`;
  if (count < 1_000_000) return `${(count / 1000).toFixed(1)} kB`;
  return `${(count / 1_000_000).toFixed(1)} MB`;
}

export const count = (value: number, one: string, many = `${one}s`): string =>
  `${value.toLocaleString("en")} ${value === 1 ? one : many}`;

/** How long an attempt has run, or has waited for a worker; null when it has not begun. */
export function attemptDuration(attempt: Attempt, now: number): { text: string; ms: number } | null {
  const from = attempt.started || attempt.scheduled;
  if (!from) return null;
  const ms = Math.max(0, (attempt.ended || now) - from);
  return { ms, text: attempt.started ? duration(ms) : `queued ${duration(ms)}` };
}

export function attemptNumber(attempt: Attempt): string {
  if (attempt.max_attempts === null || attempt.max_attempts < attempt.attempt) return `attempt ${attempt.attempt}`;
  return `attempt ${attempt.attempt} of ${attempt.max_attempts}`;
}
