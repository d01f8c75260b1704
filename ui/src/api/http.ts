import type { ActionRequest, ActionResult } from "./contract";

/** A request that failed. `status` is 0 when Airflow's API server did not answer at all. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface Answer<T> {
  /** null: nothing has changed since the revision that `etag` names */
  data: T | null;
  etag: string;
}

const WITHOUT_DETAIL: Record<number, string> = {
  401: "Your Airflow session has ended. Log in to Airflow again, then reload this page.",
  403: "You are not allowed to see this. Ask an administrator of Airflow for access to this DAG.",
  404: "Airflow does not know this page's task instance or workflow.",
};

async function errorOf(response: Response): Promise<ApiError> {
  let detail: unknown;
  try {
    detail = ((await response.json()) as { detail?: unknown }).detail;
  } catch {
    detail = undefined;
  }
  // A session that has ended is the same for every route, and Airflow's own words for it are "Not authenticated".
  const text = response.status !== 401 && typeof detail === "string" && detail !== "" ? detail : undefined;
  const message = text ?? WITHOUT_DETAIL[response.status] ?? `Airflow's API server answered ${response.status}.`;
  return new ApiError(response.status, message);
}

async function request(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, { credentials: "same-origin", cache: "no-store", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "Airflow's API server does not answer. The page shows what it read last, and tries again.");
  }
}

export async function getJson<T>(url: string, etag: string, signal: AbortSignal): Promise<Answer<T>> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (etag) headers["If-None-Match"] = etag;
  const response = await request(url, { headers, signal });
  if (response.status === 304) return { data: null, etag };
  if (!response.ok) throw await errorOf(response);
  try {
    return { data: (await response.json()) as T, etag: response.headers.get("ETag") ?? "" };
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(response.status, "Airflow's API server sent something that is not JSON.");
  }
}

export async function postAction(url: string, action: ActionRequest): Promise<ActionResult> {
  const response = await request(url, {
    method: "POST",
    headers: {
      Accept: "application/json",
      "Content-Type": "application/json",
      // A page of another site cannot set this header without asking first.
      "X-Conductor-Request": "airflow-ui",
    },
    body: JSON.stringify(action),
  });
  if (!response.ok) throw await errorOf(response);
  return (await response.json()) as ActionResult;
}
