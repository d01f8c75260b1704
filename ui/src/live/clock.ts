import { useEffect, useState, useSyncExternalStore } from "react";

const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let lastTick = 0;

/** One timer for all that moves on the page, so that it is drawn once a second, and never while the page is hidden. */
function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    if (document.hidden) return;
    lastTick = performance.now();
    for (const each of listeners) each();
  }, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

const standsStill = (): (() => void) => () => undefined;
const tick = (): number => lastTick;

/**
 * Conductor's clock, carried on from the moment it was read: a browser with a wrong clock shows right durations.
 * It moves once a second while `moving`.
 */
export function useConductorClock(serverTime: number, moving: boolean): number {
  const [read, setRead] = useState({ serverTime, at: performance.now() });
  const now = useSyncExternalStore(moving ? subscribe : standsStill, tick);
  useEffect(() => {
    setRead((before) => (before.serverTime === serverTime ? before : { serverTime, at: performance.now() }));
  }, [serverTime]);
  if (!moving || read.serverTime !== serverTime) return serverTime;
  return serverTime + Math.max(0, now - read.at);
}
