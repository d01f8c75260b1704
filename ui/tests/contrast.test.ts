import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const css = readFileSync("src/styles/index.css", "utf8");

function colours(selector: string): Map<string, string> {
  const start = css.indexOf(`${selector} {`);
  const block = css.slice(start, css.indexOf("}", start));
  return new Map([...block.matchAll(/--([a-z-]+): (#[0-9a-f]{6});/g)].map((match) => [match[1]!, match[2]!]));
}

function luminance(colour: string): number {
  const parts = [1, 3, 5].map((at) => {
    const value = parseInt(colour.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * parts[0]! + 0.7152 * parts[1]! + 0.0722 * parts[2]!;
}

function contrast(a: string, b: string): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (light! + 0.05) / (dark! + 0.05);
}

const plain = ["bg", "bg-subtle", "bg-raised", "bg-hover"];
const PAIRS: [string, string][] = [
  ...plain.flatMap((bg): [string, string][] => [
    ["fg", bg],
    ["muted", bg],
  ]),
  ...["good", "bad", "warn", "running", "queued", "off"].flatMap((tone): [string, string][] =>
    ["bg", "bg-subtle", "bg-raised", `${tone}-bg`].map((bg) => [tone, bg]),
  ),
  ...["bg", "bg-subtle", "bg-raised"].map((bg): [string, string] => ["accent", bg]),
  ...["bad-bg", "warn-bg"].flatMap((bg): [string, string][] => [
    ["fg", bg],
    ["muted", bg],
    ["queued", bg],
    ["running", bg],
  ]),
  ["on-accent", "accent"],
  ["mark", "bad"],
];

describe.each([
  ["light", ":root"],
  ["dark", ':root[data-theme="dark"]'],
])("the %s theme", (_, selector) => {
  const palette = colours(selector);
  it.each(PAIRS)("has a contrast of 4.5 between %s and %s", (text, background) => {
    expect(contrast(palette.get(text)!, palette.get(background)!)).toBeGreaterThanOrEqual(4.5);
  });
});
