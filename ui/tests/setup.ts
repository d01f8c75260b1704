import { cleanup, configure } from "@testing-library/react";
import { afterEach, beforeEach, vi } from "vitest";

// A machine may be slow; what never comes fails all the same.
configure({ asyncUtilTimeout: 30_000 });

export const media = { dark: false, listeners: new Set<() => void>() };

beforeEach(() => {
  window.localStorage.clear();
  window.history.replaceState(null, "", "/airflow/conductor/health");
  media.dark = false;
  media.listeners.clear();
  // jsdom has no media queries.
  window.matchMedia = vi.fn((query: string) => ({
    matches: media.dark && query.includes("dark"),
    media: query,
    addEventListener: (_: string, listener: () => void) => media.listeners.add(listener),
    removeEventListener: (_: string, listener: () => void) => media.listeners.delete(listener),
  })) as unknown as typeof window.matchMedia;
});

afterEach(() => {
  cleanup();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});
