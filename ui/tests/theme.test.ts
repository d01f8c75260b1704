import { describe, expect, it } from "vitest";
import { followTheme } from "../src/theme";
import { media } from "./setup";

const shown = () => document.documentElement.getAttribute("data-theme");
const choose = (value: string | null) => {
  if (value === null) window.localStorage.removeItem("theme");
  else window.localStorage.setItem("theme", value);
};

describe("the theme", () => {
  it.each([
    ["light", true, "light"],
    ["dark", false, "dark"],
    ["system", true, "dark"],
    ["system", false, "light"],
    [null, true, "dark"],
    [null, false, "light"],
  ])("is Airflow's choice %s, or the system's (dark: %s): %s", (chosen, dark, expected) => {
    choose(chosen);
    media.dark = dark;
    followTheme()();
    expect(shown()).toBe(expected);
  });

  it("follows Airflow and the system, until it is stopped", () => {
    choose("light");
    const stop = followTheme();
    choose("dark");
    window.dispatchEvent(new StorageEvent("storage", { key: "theme" }));
    expect(shown()).toBe("dark");
    choose("system");
    window.dispatchEvent(new StorageEvent("storage", { key: "theme" }));
    expect(shown()).toBe("light");
    media.dark = true;
    for (const listener of media.listeners) listener();
    expect(shown()).toBe("dark");
    stop();
    expect(media.listeners.size).toBe(0);
  });
});
