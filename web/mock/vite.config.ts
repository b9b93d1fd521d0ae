import { defineConfig } from "vite";
import { mockApi } from "./plugin";

/** `npm run dev:mock`: the pages on made-up data. MOCK_STATE=running or empty shows other states than a finished demo. */
export default defineConfig({
  plugins: [mockApi()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
});
