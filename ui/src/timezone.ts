/** Where Airflow keeps the time zone that the user has chosen in its menu, as JSON; without it, it shows the browser's. */
const KEY = "timezone";

const PARTS: Intl.DateTimeFormatOptions = {
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
  timeZoneName: "short",
};

const formats = new Map<string, Intl.DateTimeFormat>();

function stored(): string {
  try {
    return window.localStorage.getItem(KEY) ?? "";
  } catch {
    // A browser can be set to refuse storage.
    return "";
  }
}

function format(): Intl.DateTimeFormat {
  const chosen = stored();
  let found = formats.get(chosen);
  if (!found) {
    try {
      found = new Intl.DateTimeFormat("en-GB", { ...PARTS, timeZone: JSON.parse(chosen) as string });
    } catch {
      // Nothing chosen, or a zone that this browser does not know.
      found = new Intl.DateTimeFormat("en-GB", PARTS);
    }
    formats.set(chosen, found);
  }
  return found;
}

export interface Moment {
  date: string;
  time: string;
  zone: string;
}

/** A time as Airflow's UI shows it: in the zone that is chosen there. */
export function moment(time: number): Moment {
  const parts = new Map(
    format()
      .formatToParts(time)
      .map(({ type, value }) => [type, value]),
  );
  const of = (...names: Intl.DateTimeFormatPartTypes[]) => names.map((name) => parts.get(name) ?? "");
  return {
    date: of("year", "month", "day").join("-"),
    time: of("hour", "minute", "second").join(":"),
    zone: parts.get("timeZoneName") ?? "",
  };
}
