// The digest over everything the bundle is made of. tests/ui/test_bundle.py computes the same one in Python.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

const FILES = [
  ".npmrc",
  "index.html",
  "package-lock.json",
  "package.json",
  "stamp.ts",
  "tsconfig.json",
  "vite.config.ts",
];
const FOLDERS = ["public", "src"];

function below(root: string, folder: string): string[] {
  return readdirSync(join(root, folder)).flatMap((name) => {
    const path = `${folder}/${name}`;
    return statSync(join(root, path)).isDirectory() ? below(root, path) : [path];
  });
}

export function digestOfSources(root: string): string {
  const paths = [...FILES, ...FOLDERS.flatMap((folder) => below(root, folder))];
  // By code unit, as Python sorts ASCII names, not by the locale.
  paths.sort((a, b) => (a < b ? -1 : 1));
  const whole = createHash("sha256");
  for (const path of paths) {
    const file = createHash("sha256")
      .update(readFileSync(join(root, path)))
      .digest("hex");
    whole.update(`${file}  ${path}\n`);
  }
  return whole.digest("hex");
}

export function stampSources(root: string, target: string): Plugin {
  return {
    name: "stamp-sources",
    apply: "build",
    closeBundle() {
      writeFileSync(join(root, target, "SOURCES.sha256"), `${digestOfSources(root)}\n`);
    },
  };
}
