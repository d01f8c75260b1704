import { vi } from "vitest";

export interface Call {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: unknown;
}

type Reply = { status?: number; body?: unknown; etag?: string } | Error;

/** Answers instead of Airflow's API server. A route is the end of a path with its query, as a pattern. */
export class Server {
  readonly calls: Call[] = [];
  private readonly routes: { method: string; pattern: RegExp; reply: (call: Call) => Reply }[] = [];

  constructor() {
    vi.stubGlobal("fetch", async (url: string, init: RequestInit = {}) => {
      const call: Call = {
        method: init.method ?? "GET",
        url: String(url),
        headers: (init.headers ?? {}) as Record<string, string>,
        body: typeof init.body === "string" ? JSON.parse(init.body) : undefined,
      };
      this.calls.push(call);
      const route = this.routes.findLast(({ method, pattern }) => method === call.method && pattern.test(call.url));
      const reply = route ? route.reply(call) : { status: 404, body: { detail: `no route for ${call.url}` } };
      if (reply instanceof Error) throw reply;
      const status = reply.status ?? 200;
      return new Response(status === 304 ? null : JSON.stringify(reply.body ?? {}), {
        status,
        headers: reply.etag ? { ETag: reply.etag } : {},
      });
    });
  }

  get(pattern: RegExp, reply: Reply | ((call: Call) => Reply)): this {
    return this.on("GET", pattern, reply);
  }

  post(pattern: RegExp, reply: Reply | ((call: Call) => Reply)): this {
    return this.on("POST", pattern, reply);
  }

  callsOf(method: string, pattern: RegExp): Call[] {
    return this.calls.filter((call) => call.method === method && pattern.test(call.url));
  }

  private on(method: string, pattern: RegExp, reply: Reply | ((call: Call) => Reply)): this {
    this.routes.push({
      method,
      pattern,
      reply: typeof reply === "function" && !(reply instanceof Error) ? reply : () => reply,
    });
    return this;
  }
}

export function setHidden(hidden: boolean): void {
  vi.spyOn(document, "hidden", "get").mockReturnValue(hidden);
  document.dispatchEvent(new Event("visibilitychange"));
}
