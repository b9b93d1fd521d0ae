import type { PluginOption } from "vite";
import { defineConfig } from "vitest/config";

/**
 * `vite` proxies the API to a running `diptych serve` (DIPTYCH_URL, default http://127.0.0.1:8080);
 * `vite --mode mock` answers it from mock/, so that a page can be built before its resource exists.
 */
export default defineConfig(async ({ mode }) => {
  const plugins: PluginOption[] = [];
  if (mode === "mock") {
    const { mockApi } = await import("./mock/plugin");
    plugins.push(mockApi());
  }
  return {
    plugins,
    oxc: { jsx: { runtime: "automatic" as const, importSource: "preact" } },
    build: { target: "es2022", assetsInlineLimit: 0, sourcemap: false, chunkSizeWarningLimit: 400 },
    server: {
      ...(mode === "mock"
        ? {}
        : { proxy: { "/api": { target: process.env.DIPTYCH_URL ?? "http://127.0.0.1:8080", changeOrigin: true } } }),
    },
    test: { include: ["src/**/*.test.ts"] },
  };
});
