import { useEffect, useMemo, useSyncExternalStore } from "react";
import { Poller, type Snapshot } from "./poller";

export function usePoller<T>(
  url: string,
  pauseAfter: (data: T) => number | null,
): Snapshot<T> & { pollNow: () => void } {
  // `pauseAfter` is a rule about the answers of this address, so it never changes without it.
  const poller = useMemo(() => new Poller<T>(url, pauseAfter), [url]);
  useEffect(() => {
    poller.start();
    return () => poller.stop();
  }, [poller]);
  const snapshot = useSyncExternalStore(poller.subscribe, poller.getSnapshot);
  return { ...snapshot, pollNow: () => poller.pollNow() };
}

export const asTheServerSays = (data: { poll_after: number | null }): number | null => data.poll_after;
