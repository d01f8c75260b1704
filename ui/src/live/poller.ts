import { ApiError, getJson } from "../api/http";

export interface Snapshot<T> {
  data: T | null;
  error: ApiError | null;
}

const LONGEST_PAUSE = 60;
const SHORTEST_PAUSE = 2;

/** Conductor takes a moment to carry out an action in the workflows above and below the one that it was sent to. */
const AFTER_ACTION = 20;

const running = new Set<Poller<unknown>>();

/** After an action: whatever is on the page may have changed. */
export function pollAllNow(): void {
  for (const poller of running) poller.pollAfterAction();
}

/**
 * Reads one address again and again, as often as the answer says.
 *
 * | situation | what it does |
 * |---|---|
 * | answer with `poll_after` | waits so many seconds |
 * | 304 | keeps data and pause |
 * | `poll_after` of a minute | the workflow has ended, but somebody may revive it; soon, shortly after an action |
 * | `poll_after` null | stops, until `pollNow`; shortly after an action it goes on a little longer |
 * | error | keeps the data, and waits twice as long each time, up to a minute |
 * | the page is hidden | stops; polls at once when it is shown again |
 */
export class Poller<T> {
  private snapshot: Snapshot<T> = { data: null, error: null };
  private readonly listeners = new Set<() => void>();
  private etag = "";
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private request: AbortController | null = null;
  private again = false;
  private actionUntil = 0;

  constructor(
    private readonly url: string,
    private readonly pauseAfter: (data: T) => number | null,
  ) {}

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly getSnapshot = (): Snapshot<T> => this.snapshot;

  start(): void {
    running.add(this as Poller<unknown>);
    document.addEventListener("visibilitychange", this.onVisibility);
    this.pollNow();
  }

  stop(): void {
    running.delete(this as Poller<unknown>);
    document.removeEventListener("visibilitychange", this.onVisibility);
    clearTimeout(this.timer);
    this.request?.abort();
    this.request = null;
    this.again = false;
  }

  pollNow(): void {
    clearTimeout(this.timer);
    if (document.hidden) return;
    // The answer on its way may be older than what the caller has just changed.
    if (this.request) this.again = true;
    else void this.poll();
  }

  pollAfterAction(): void {
    this.actionUntil = Date.now() + AFTER_ACTION * 1000;
    this.pollNow();
  }

  private readonly onVisibility = (): void => {
    if (document.hidden) clearTimeout(this.timer);
    else if (this.pause() !== null) this.pollNow();
  };

  private async poll(): Promise<void> {
    const request = new AbortController();
    this.request = request;
    try {
      const answer = await getJson<T>(this.url, this.etag, request.signal);
      if (this.request !== request) return;
      this.etag = answer.etag;
      this.failures = 0;
      if (answer.data !== null || this.snapshot.error) this.publish(answer.data ?? this.snapshot.data, null);
    } catch (error) {
      if (this.request !== request) return;
      this.failures += 1;
      const known = error instanceof ApiError ? error : new ApiError(0, String(error));
      this.publish(this.snapshot.data, known);
    }
    this.request = null;
    const pause = this.again ? 0 : this.pause();
    this.again = false;
    clearTimeout(this.timer);
    if (pause !== null && !document.hidden) this.timer = setTimeout(() => this.pollNow(), pause * 1000);
  }

  /** Seconds until the next poll; null: none. */
  private pause(): number | null {
    const { data } = this.snapshot;
    const said = data === null ? null : this.pauseAfter(data);
    const soon = data === null || Date.now() < this.actionUntil;
    const usual = soon && (said === null || said > AFTER_ACTION) ? SHORTEST_PAUSE : said;
    if (this.failures === 0) return usual;
    return Math.min(LONGEST_PAUSE, Math.max(SHORTEST_PAUSE, usual ?? 0) * 2 ** Math.min(this.failures, 10));
  }

  private publish(data: T | null, error: ApiError | null): void {
    this.snapshot = { data, error };
    for (const listener of this.listeners) listener();
  }
}
