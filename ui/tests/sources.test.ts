import { readFileSync, readdirSync } from "node:fs";
import { expect, it } from "vitest";

const sources = readdirSync("src", { recursive: true, encoding: "utf8" }).filter((name) => /\.tsx?$/.test(name));

it.each(sources)("%s makes no markup of text, and opens no window or dialog that the sandbox forbids", (name) => {
  const text = readFileSync(`src/${name}`, "utf8");
  expect(text).not.toMatch(
    /dangerouslySetInnerHTML|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/,
  );
  expect(text).not.toMatch(/window\.(open|confirm|alert|prompt)|target="_blank"|href=/);
});
