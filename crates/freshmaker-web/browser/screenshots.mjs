// Makes the two pictures of README.md, in docs/: from the root of the repository, after `browser/setup` and
// `cargo build -p demonstration`.
import path from "node:path";
import { browser, demonstration } from "./world.mjs";

const world = await demonstration("--slower", "20");
const chromium = await browser();
const page = await chromium.page({ viewport: { width: 1280, height: 760 } });
await page.goto(world.address.href);
// Until something has failed.
await page.waitForFunction(() => document.querySelectorAll(".alarm").length > 1, undefined, { timeout: 120_000 });
await page.screenshot({ path: path.resolve("docs/overview.png") });
await page.locator("#open tbody a").last().click();
await page.waitForURL(/events/);
await page.waitForFunction(() => document.getElementById("live").textContent.startsWith("Live"));
await page.setViewportSize({ width: 1280, height: 1020 });
await page.screenshot({ path: path.resolve("docs/event.png") });
await chromium.close();
world.interrupt();
await world.ended;
