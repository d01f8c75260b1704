import { useState, type ReactNode } from "react";
import type { ApiError } from "../api/http";
import { lookOf, statusText } from "../status";
import { StatusIcon } from "./StatusIcon";

export function StatusBadge({ status }: { status: string }) {
  return (
    <span className={`badge tone-${lookOf(status).tone}`}>
      <StatusIcon status={status} />
      {statusText(status)}
    </span>
  );
}

/** The Clipboard API exists on https and localhost only, and Airflow is often neither. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByHand(text);
  }
}

function copyByHand(text: string): boolean {
  const before = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.setAttribute("readonly", "");
  area.className = "visually-hidden";
  document.body.append(area);
  area.focus();
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (before instanceof HTMLElement) before.focus();
  return done;
}

/** A value to take along: the sandbox of Airflow's frame forbids links to other windows. */
export function Copyable({ text, what }: { text: string; what: string }) {
  const [said, setSaid] = useState("");
  const onClick = async () => setSaid((await copy(text)) ? "copied" : "select it and copy it by hand");
  return (
    <span className="copyable">
      <code title={text}>{text}</code>
      <button
        type="button"
        className="icon-button"
        aria-label={`Copy ${what}`}
        title={`Copy ${what}`}
        onClick={onClick}
      >
        <svg viewBox="0 0 16 16" aria-hidden="true" focusable="false">
          <rect x="5.5" y="5.5" width="8" height="8" rx="1.5" />
          <path d="M10.5 5.5v-2a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1h2" />
        </svg>
      </button>
      <span role="status" className="copied">
        {said}
      </span>
    </span>
  );
}

/** What went wrong with a poll. What was read before stays on the page. */
export function ErrorBanner({ error, stale, onRetry }: { error: ApiError; stale: boolean; onRetry: () => void }) {
  return (
    <div className="banner error" role="alert" data-testid="error">
      <span>
        {error.message}
        {stale && " What you see was read before."}
      </span>
      <button type="button" className="button" onClick={onRetry}>
        Try again
      </button>
    </div>
  );
}

export function Calm({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="calm" data-testid="empty">
      <h1>{title}</h1>
      <p>{children}</p>
    </div>
  );
}

export const Loading = ({ what }: { what: string }) => (
  <p className="loading" role="status">
    Loading {what} …
  </p>
);

/** Text of any length in one line; all of it as tooltip. */
export const Ellipsis = ({ text, className = "" }: { text: string; className?: string }) => (
  <span className={`ellipsis ${className}`} title={text}>
    {text}
  </span>
);
