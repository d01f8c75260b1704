// Conductor's statuses of tasks and workflows, and what they have in common on the screen.

export type Tone = "none" | "queued" | "running" | "good" | "bad" | "warn" | "off";

export interface Look {
  tone: Tone;
  /** the drawing in parts/StatusIcon.tsx: states differ by shape, not by colour alone */
  shape:
    "empty" | "clock" | "turning" | "check" | "cross" | "octagon" | "hourglass" | "slash" | "skip" | "pause" | "mixed";
}

const LOOKS: Record<string, Look> = {
  "": { tone: "none", shape: "empty" },
  SCHEDULED: { tone: "queued", shape: "clock" },
  IN_PROGRESS: { tone: "running", shape: "turning" },
  RUNNING: { tone: "running", shape: "turning" },
  PAUSED: { tone: "warn", shape: "pause" },
  COMPLETED: { tone: "good", shape: "check" },
  COMPLETED_WITH_ERRORS: { tone: "warn", shape: "mixed" },
  FAILED: { tone: "bad", shape: "cross" },
  FAILED_WITH_TERMINAL_ERROR: { tone: "bad", shape: "octagon" },
  TIMED_OUT: { tone: "bad", shape: "hourglass" },
  TERMINATED: { tone: "bad", shape: "octagon" },
  CANCELED: { tone: "off", shape: "slash" },
  SKIPPED: { tone: "off", shape: "skip" },
};

export const lookOf = (status: string): Look => LOOKS[status] ?? { tone: "none", shape: "empty" };

/** Conductor's own word, as in its log and its API. */
export const statusText = (status: string): string => status || "not reached";

export const isFailed = (status: string): boolean => lookOf(status).tone === "bad";
export const isOpen = (status: string): boolean => status === "SCHEDULED" || status === "IN_PROGRESS";
export const isRunningWorkflow = (status: string): boolean => status === "RUNNING" || status === "PAUSED";
