import { useEffect, useState } from "react";

/**
 * Conductor's clock, carried on from the moment it was read: a browser with a wrong clock shows right durations.
 * It moves once a second while `moving`, and not while the page is hidden.
 */
export function useConductorClock(serverTime: number, moving: boolean): number {
  const [now, setNow] = useState(serverTime);
  useEffect(() => {
    const readAt = performance.now();
    setNow(serverTime);
    if (!moving) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) setNow(serverTime + performance.now() - readAt);
    }, 1000);
    return () => clearInterval(timer);
  }, [serverTime, moving]);
  return Math.max(now, serverTime);
}
