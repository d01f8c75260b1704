import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import { stampSources } from "./stamp.ts";

const OUT = "../airflow_provider_conductor/ui/static";

export default defineConfig({
  // Airflow may be served below a path of its own, so every address is relative to the page.
  base: "./",
  plugins: [react(), stampSources(import.meta.dirname, OUT)],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: "es2022",
    sourcemap: false,
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    license: { fileName: "assets/LICENSES.md" },
    rollupOptions: {
      output: {
        // The same names in every build keep the repository's history small; the server sends ETags.
        entryFileNames: "assets/app.js",
        assetFileNames: "assets/app[extname]",
        codeSplitting: false,
      },
    },
  },
  test: {
    environment: "jsdom",
    include: ["tests/**/*.test.{ts,tsx}"],
    setupFiles: ["tests/setup.ts"],
    css: false,
    testTimeout: 120_000,
  },
});
