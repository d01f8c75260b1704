/** Airflow keeps its choice under this key in the storage of the origin that this page shares with it. */
const KEY = "theme";

type Theme = "light" | "dark";

const prefersDark = (): MediaQueryList => window.matchMedia("(prefers-color-scheme: dark)");

export function currentTheme(): Theme {
  let chosen: string | null = null;
  try {
    chosen = window.localStorage.getItem(KEY);
  } catch {
    // A browser can be set to refuse storage.
  }
  if (chosen === "light" || chosen === "dark") return chosen;
  return prefersDark().matches ? "dark" : "light";
}

/** Shows Airflow's theme, and follows it when it changes. Returns how to stop. */
export function followTheme(): () => void {
  const apply = () => document.documentElement.setAttribute("data-theme", currentTheme());
  const onStorage = (event: StorageEvent) => {
    if (event.key === KEY || event.key === null) apply();
  };
  const system = prefersDark();
  apply();
  window.addEventListener("storage", onStorage);
  system.addEventListener("change", apply);
  return () => {
    window.removeEventListener("storage", onStorage);
    system.removeEventListener("change", apply);
  };
}
