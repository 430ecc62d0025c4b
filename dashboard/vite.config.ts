import { defineConfig } from "vite";

// `TIDEMILL_HOST=http://127.0.0.1:8080 npx vite` shows the page with a running host's data while its sources change.
const host = process.env.TIDEMILL_HOST ?? "http://127.0.0.1:8080";

export default defineConfig({
  build: {
    target: "es2022",
    // The host's Content-Security-Policy allows nothing inline: no data: addresses, no script in the page.
    assetsInlineLimit: 0,
    modulePreload: false,
  },
  server: { proxy: { "/v1": host, "/version": host, "/metrics": host } },
});
