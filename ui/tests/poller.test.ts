import { beforeEach, describe, expect, it, vi } from "vitest";
import { Poller, pollAllNow } from "../src/live/poller";
import { Server, setHidden } from "./server";

interface Data {
  text: string;
  poll_after: number | null;
}

const URL = "./api/health";

describe("polling", () => {
  let server: Server;
  let poller: Poller<Data>;

  beforeEach(() => {
    vi.useFakeTimers();
    server = new Server();
    poller = new Poller<Data>(URL, (data) => data.poll_after);
    return () => poller.stop();
  });

  const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000);
  const polls = () => server.calls.length;

  it("waits as long as the answer says", async () => {
    server.get(/health/, { body: { text: "a", poll_after: 5 } });
    poller.start();
    await pass(4.9);
    expect(polls()).toBe(1);
    await pass(0.2);
    expect(polls()).toBe(2);
    expect(poller.getSnapshot().data?.text).toBe("a");
  });

  it("sends the ETag back, and keeps data and pause when nothing has changed", async () => {
    server.get(/health/, ({ headers }) =>
      headers["If-None-Match"] === '"1"' ? { status: 304 } : { body: { text: "a", poll_after: 3 }, etag: '"1"' },
    );
    let published = 0;
    poller.subscribe(() => (published += 1));
    poller.start();
    await pass(6.5);
    expect(polls()).toBe(3);
    expect(server.calls[2]!.headers["If-None-Match"]).toBe('"1"');
    expect(poller.getSnapshot()).toEqual({ data: { text: "a", poll_after: 3 }, error: null });
    expect(published).toBe(1);
  });

  it("stops when the workflow has ended, and goes on after an action that revives it", async () => {
    const answers: Data[] = [
      { text: "ended", poll_after: null },
      { text: "running", poll_after: 2 },
    ];
    server.get(/health/, () => ({ body: answers.length > 1 ? answers.shift() : answers[0] }));
    poller.start();
    await pass(600);
    expect(polls()).toBe(1);
    setHidden(true);
    setHidden(false);
    await pass(600);
    expect(polls()).toBe(1);
    pollAllNow();
    await pass(2.5);
    expect(polls()).toBe(3);
  });

  it("reads what has ended once a minute, and when the page is shown again: somebody else may have revived it", async () => {
    const answers: Data[] = [{ text: "ended", poll_after: 60 }];
    server.get(/health/, () => ({ body: answers[0] }));
    poller.start();
    await pass(599);
    expect(polls()).toBe(10);
    setHidden(true);
    await pass(600);
    expect(polls()).toBe(10);
    setHidden(false);
    await pass(0);
    expect(polls()).toBe(11);
    answers[0] = { text: "running", poll_after: 5 };
    await pass(60);
    expect(poller.getSnapshot().data?.text).toBe("running");
    await pass(6);
    expect(polls()).toBe(13);
  });

  it("reads what has ended sooner after an action", async () => {
    server.get(/health/, { body: { text: "ended", poll_after: 60 } });
    poller.start();
    await pass(30);
    pollAllNow();
    await pass(20.5);
    expect(polls()).toBe(12);
    await pass(59);
    expect(polls()).toBe(12);
    await pass(3);
    expect(polls()).toBe(13);
  });

  it("reads what has ended a few times more after an action, which may revive it a little later", async () => {
    const answers: Data[] = [
      { text: "ended", poll_after: null },
      { text: "still ended", poll_after: null },
    ];
    server.get(/health/, () => ({ body: answers.length > 1 ? answers.shift() : answers[0] }));
    poller.start();
    await pass(60);
    expect(polls()).toBe(1);
    pollAllNow();
    await pass(600);
    expect(polls()).toBe(12);
    pollAllNow();
    answers.splice(0, 2, { text: "running", poll_after: 5 });
    await pass(2.1);
    expect(poller.getSnapshot().data?.text).toBe("running");
  });

  it("does not poll while the page is hidden, and polls at once when it is shown again", async () => {
    server.get(/health/, { body: { text: "a", poll_after: 2 } });
    poller.start();
    await pass(1);
    setHidden(true);
    await pass(600);
    expect(polls()).toBe(1);
    setHidden(false);
    await pass(0);
    expect(polls()).toBe(2);
  });

  it("does not begin to poll on a hidden page", async () => {
    setHidden(true);
    server.get(/health/, { body: { text: "a", poll_after: 2 } });
    poller.start();
    await pass(60);
    expect(polls()).toBe(0);
    setHidden(false);
    await pass(0);
    expect(polls()).toBe(1);
  });

  it("keeps the last data on an error, waits longer each time, and recovers", async () => {
    let broken = false;
    server.get(/health/, () =>
      broken ? { status: 502, body: { detail: "Conductor is unreachable" } } : { body: { text: "a", poll_after: 2 } },
    );
    poller.start();
    await pass(0);
    broken = true;
    await pass(2);
    expect(poller.getSnapshot().error?.message).toBe("Conductor is unreachable");
    expect(poller.getSnapshot().data?.text).toBe("a");
    const times: number[] = [];
    for (let second = 0; second < 200; second += 1) {
      const before = polls();
      await pass(1);
      if (polls() > before) times.push(second + 1);
    }
    const pauses = times.map((time, index) => time - (times[index - 1] ?? 0));
    expect(pauses).toEqual([4, 8, 16, 32, 60, 60]);
    broken = false;
    poller.pollNow();
    await pass(0);
    expect(poller.getSnapshot().error).toBeNull();
    const before = polls();
    await pass(2);
    expect(polls()).toBe(before + 1);
  });

  it("recovers from an error with a 304, too", async () => {
    const replies = [{ body: { text: "a", poll_after: 2 }, etag: '"1"' }, { status: 502 }, { status: 304 }];
    server.get(/health/, () => replies.shift() ?? { status: 304 });
    poller.start();
    await pass(2);
    expect(poller.getSnapshot().error?.status).toBe(502);
    await pass(4);
    expect(poller.getSnapshot()).toEqual({ data: { text: "a", poll_after: 2 }, error: null });
  });

  it.each([
    [401, { detail: "Not authenticated" }, /Log in to Airflow again/],
    [403, {}, /not allowed/],
    [502, { detail: "Conductor answered 503" }, /^Conductor answered 503$/],
    [500, {}, /answered 500/],
  ])("explains %i", async (status, body, words) => {
    server.get(/health/, { status, body });
    poller.start();
    await pass(0);
    expect(poller.getSnapshot().error?.message).toMatch(words);
    expect(poller.getSnapshot().error?.status).toBe(status);
  });

  it("explains that the API server does not answer", async () => {
    server.get(/health/, new TypeError("Failed to fetch"));
    poller.start();
    await pass(0);
    expect(poller.getSnapshot().error).toMatchObject({
      status: 0,
      message: expect.stringContaining("does not answer"),
    });
  });

  it("asks again after an action while an older answer is on its way", async () => {
    const waiting: (() => void)[] = [];
    vi.stubGlobal("fetch", () => {
      server.calls.push({ method: "GET", url: URL, headers: {}, body: undefined });
      return new Promise((resolve) => {
        waiting.push(() => resolve(new Response(JSON.stringify({ text: String(polls()), poll_after: null }))));
      });
    });
    poller.start();
    pollAllNow();
    expect(polls()).toBe(1);
    waiting[0]!();
    await pass(0);
    expect(polls()).toBe(2);
    waiting[1]!();
    await pass(0);
    expect(poller.getSnapshot().data?.text).toBe("2");
  });

  it("takes no answer after it has been stopped", async () => {
    server.get(/health/, { body: { text: "a", poll_after: 1 } });
    poller.start();
    poller.stop();
    await pass(30);
    expect(poller.getSnapshot().data).toBeNull();
    expect(polls()).toBe(1);
  });
});
