import type { ReactNode } from "react";
import { lookOf, type Look } from "../status";

const DRAWINGS: Record<Look["shape"], ReactNode> = {
  empty: <circle cx="8" cy="8" r="6" strokeDasharray="2.4 2.3" />,
  clock: (
    <>
      <circle cx="8" cy="8" r="6" />
      <path d="M8 4.8V8l2.2 1.6" />
    </>
  ),
  turning: (
    <>
      <circle cx="8" cy="8" r="6" opacity="0.3" />
      <path className="turning" d="M8 2a6 6 0 0 1 6 6" />
    </>
  ),
  check: (
    <>
      <circle cx="8" cy="8" r="7" className="filled" />
      <path className="mark" d="M4.9 8.3l2.2 2.2 4.1-4.6" />
    </>
  ),
  cross: (
    <>
      <circle cx="8" cy="8" r="7" className="filled" />
      <path className="mark" d="M5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8" />
    </>
  ),
  octagon: (
    <>
      <path className="filled" d="M5.2 1.2h5.6l4 4v5.6l-4 4H5.2l-4-4V5.2z" />
      <path className="mark" d="M5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8" />
    </>
  ),
  hourglass: <path d="M4 2h8M4 14h8M5 2c0 3.4 3 4 3 6s-3 2.6-3 6M11 2c0 3.4-3 4-3 6s3 2.6 3 6" />,
  slash: (
    <>
      <circle cx="8" cy="8" r="6" />
      <path d="M3.8 12.2l8.4-8.4" />
    </>
  ),
  skip: <path d="M3 4l5 4-5 4zM8.5 4l5 4-5 4z" />,
  pause: (
    <>
      <circle cx="8" cy="8" r="6" />
      <path d="M6.4 5.6v4.8M9.6 5.6v4.8" />
    </>
  ),
  mixed: (
    <>
      <path className="filled" d="M8 1.3l7 12.7H1z" />
      <path className="mark" d="M8 6v3.6M8 11.6v.4" />
    </>
  ),
};

/** Decoration: the status stands beside it as text, or in the accessible name of what it is part of. */
export function StatusIcon({ status }: { status: string }) {
  const { tone, shape } = lookOf(status);
  return (
    <svg className={`status-icon tone-${tone}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      {DRAWINGS[shape]}
    </svg>
  );
}
