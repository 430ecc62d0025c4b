// Drives a real Chromium for a test: each line that comes in is a command as JSON, each line that goes out is its answer.
// TIDEMILL_TEST_BROWSER is the folder with the packages, TIDEMILL_TEST_CHROMIUM the browser.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(join(process.env.TIDEMILL_TEST_BROWSER, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const profile = mkdtempSync(join(tmpdir(), "tidemill-browser-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.TIDEMILL_TEST_CHROMIUM,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Whatever asks for another host finds none.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ],
  viewport: { width: 1440, height: 1000 },
});
const page = context.pages()[0] ?? (await context.newPage());

const requests = [];
const complaints = [];
let loads = 0;
// Violations of the Content-Security-Policy are errors of the console too.
page.on("console", (said) => ["error", "warning"].includes(said.type()) && complaints.push(said.text()));
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("load", () => (loads += 1));
context.on("request", (request) => requests.push(request.url()));

const found = ({ selector, text }) => page.locator(selector).filter({ hasText: new RegExp(text, "s") }).first();

const commands = {
  open: async ({ url }) => void (await page.goto(url)),
  reload: async () => void (await page.reload()),
  // Waits until something is shown, and answers its text.
  sees: async ({ selector, text, seconds }) => {
    const element = found({ selector, text });
    await element.waitFor({ state: "visible", timeout: seconds * 1000 });
    return await element.innerText();
  },
  type: async ({ selector, text }) => void (await page.locator(selector).fill(text)),
  press: async ({ key }) => void (await page.keyboard.press(key)),
  // A picture of the whole page.
  look: async ({ scheme, width, path }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width, height: 1000 });
    // Two frames: the one that lays out, and the one in which charts have their new sizes.
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    await page.screenshot({ path, fullPage: true });
    return await page.evaluate(() => document.documentElement.scrollWidth);
  },
  // What breaks the rules of accessibility.
  judge: async () => {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`);
  },
  told: async () => ({ requests: [...new Set(requests)], complaints, loads }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...details } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await commands[command](details)) ?? null };
  } catch (error) {
    const shown = await page.locator("body").innerText().catch(() => "");
    answer = { error: `${error}\non the page:\n${shown}\ncomplaints: ${complaints.join("\n")}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

// The test has closed its end: it is over.
await context.close();
rmSync(profile, { recursive: true, force: true });
