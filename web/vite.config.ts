import { defineConfig } from "vitest/config";

/** `vite` proxies the API to a running `diptych serve` (DIPTYCH_URL). */
export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: { target: "es2022", assetsInlineLimit: 0, sourcemap: false, chunkSizeWarningLimit: 400 },
  server: { proxy: { "/api": { target: process.env.DIPTYCH_URL ?? "http://127.0.0.1:8080", changeOrigin: true } } },
  test: { include: ["src/**/*.test.ts"] },
});
