// Drives the pages of the demonstration as people do. Run by `.ci/run`; by hand, from the root of the repository:
//   crates/freshmaker-web/browser/setup && cargo build -p demonstration && node crates/freshmaker-web/browser/run.mjs
// Screenshots of what failed are in target/browser-failures.
import assert from "node:assert/strict";
import path from "node:path";
import { axe, browser, demonstration, kept, way } from "./world.mjs";

const world = await demonstration("--slower", "6", "--slots", "8");
const cable = await way(world.address);
const chromium = await browser();
const at = (place) => new URL(place, cable.address).href;
let failed = 0;

async function step(name, page, act) {
  const began = Date.now();
  try {
    await act(page);
    console.log(`ok    ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    const file = path.join(kept(), `${name.replaceAll(/[^a-z0-9]+/gi, "-")}.png`);
    await page.screenshot({ path: file, fullPage: true }).catch(() => {});
    console.log(`FAIL  ${name}: ${error.stack}\n      ${file}`);
  }
}

/// Waits until a condition holds on the page, which nobody loads again.
const until = (page, condition, argument, timeout = 60_000) => page.waitForFunction(condition, argument, { timeout, polling: 200 });
const heading = (page) => page.locator("h1").innerText();

const page = await chromium.page();
let event;

await step("the overview is there and follows what happens", page, async () => {
  await page.goto(at("/"));
  assert.equal(await heading(page), "Overview");
  await until(page, () => document.getElementById("live").textContent.startsWith("Live"));
  await until(page, () => document.querySelector("#now .legend")?.textContent.includes("running"));
  const first = await page.locator("#now").innerText();
  await until(page, (first) => document.getElementById("now").innerText !== first, first, 10_000);
});

await step("the overview is painted after one request", await chromium.page(), async (page) => {
  // Nothing else is answered before the page is looked at.
  let answer;
  const looked = new Promise((resolve) => { answer = resolve; });
  await page.route("**/assets/**", async (route) => { await looked; await route.continue(); });
  await page.goto(at("/"), { waitUntil: "commit" });
  await until(page, () => performance.getEntriesByName("first-contentful-paint").length > 0);
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("header.top")).display), "flex");
  answer();
  await page.close();
});

await step("an event says what it rebuilds, and why", page, async () => {
  await page.locator("#open a", { hasText: "event" }).first().click();
  await page.waitForURL(/events\/\d+$/);
  event = Number(page.url().match(/(\d+)$/)[1]);
  assert.match(await page.locator(".sentence").innerText(), /^Rebuilds \d+ artifacts? because docker\.io\/\S+ changed\./);
  await page.getByRole("link", { name: "Graph" }).click();
  await page.waitForURL(/graph/);
  assert.ok(await page.locator("svg a, img").count() > 0);
  await page.goBack();
});

await step("the demonstration is watched to its end", page, async () => {
  await page.goto(at(`/events/${event}`));
  await until(page, () => /COMPLETE/.test(document.querySelector("h1").innerText), undefined, 120_000);
  assert.match(await page.locator(".progress").innerText(), /\d+ done/);
});

await step("a failed build is found by its cause, and its group is retried once", page, async () => {
  await page.goto(at("/"));
  await page.locator(".alarm.fail", { hasText: "failed in" }).getByRole("link").click();
  await page.waitForURL(/failures/);
  await page.locator("#groups tbody a", { hasText: /^build \d+$/ }).first().click();
  await page.waitForURL(/builds\/\d+$/);
  assert.match(await page.locator(".sentence").innerText(), /libssl/);
  await page.locator(".facts a", { hasText: /^event \d+$/ }).first().click();
  await page.waitForURL(/events\/\d+$/);
  await until(page, () => /COMPLETE/.test(document.querySelector("h1").innerText), undefined, 120_000);
  const failed = Number(page.url().match(/(\d+)$/)[1]);
  // Others may have stored events meanwhile: the retry is the first one behind those that are there now.
  await page.goto(at("/events"));
  const newest = Number((await page.locator("#list tbody a").first().innerText()).match(/\d+/)[0]);
  await page.goto(at("/failures"));
  await page.getByRole("button", { name: /^Retry this group/ }).first().click();
  await page.waitForURL(/events\?told=group-retried/);
  assert.match(await page.locator(".told").innerText(), /^Retried/);
  // The new event comes by itself.
  await until(page, (newest) => Number(document.querySelector("#list tbody a").textContent.match(/\d+/)[0]) > newest, newest);
  await page.locator("#list tbody a", { hasText: /^event \d+$/ }).first().click();
  await page.waitForURL(/events\/\d+$/);
  await until(page, () => document.querySelector("h1 .s").textContent === "COMPLETE", undefined, 120_000);
  assert.match(await page.locator("#head").innerText(), new RegExp(`retries event ${failed}`));
  // It was built well, so it is no failure any more.
  await page.goto(at("/failures"));
  assert.match(await page.locator("#groups").innerText(), /was built well since/);
  await page.goto(at(`/events/${failed}`));
  assert.match(await page.locator("#head").innerText(), /was retried by local/);
  assert.equal(await page.getByRole("button", { name: "Retry what failed" }).count(), 0);
});

await step("a plan is previewed and applied exactly as it was seen", page, async () => {
  await page.goto(at("/plans/new"));
  await page.getByLabel("Somebody asks for this artifact").check();
  await page.getByLabel("Its name").fill("docker.io/amd64/buildpack-deps:bookworm-curl");
  await page.getByRole("button", { name: "Preview", exact: true }).click();
  await page.waitForURL(/plans\/sha256/);
  assert.match(await page.locator(".sentence").innerText(), /^\d+ builds? in \d+ waves?/);
  await page.getByRole("link", { name: "Compare with now" }).click();
  await page.waitForURL(/diff$/);
  assert.match(await page.locator("#difference").innerText(), /the same/i);
  await page.getByRole("button", { name: "Apply exactly this" }).click();
  await page.waitForURL(/messages\/local\/.*told=applied/);
  // The event comes by itself.
  await page.locator("#head a", { hasText: /^event \d+$/ }).click();
  await page.waitForURL(/events\/\d+$/);
  assert.match(await page.locator(".sentence").innerText(), /asked for by local/);
});

await step("a lost connection is told of, and what was missed comes afterwards", page, async () => {
  await page.goto(at("/builds"));
  await until(page, () => document.getElementById("live").textContent.startsWith("Live"));
  cable.cut();
  await until(page, () => document.getElementById("live").textContent.includes("connection is lost"));
  const before = await page.locator("#list").innerText();
  // Something happens meanwhile, on another way.
  await fetch(new URL("/api/3/messages", world.address), {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": "while-it-was-cut" },
    body: JSON.stringify({ topic: "image.pushed", body: { image: "docker.io/i386/debian:bookworm" } }),
  });
  cable.mend();
  await until(page, () => document.getElementById("live").textContent.startsWith("Live"), undefined, 15_000);
  await until(page, (before) => document.getElementById("list").innerText !== before, before, 15_000);
});

await step("a hidden page asks for nothing", page, async () => {
  await page.goto(at("/builds"));
  await until(page, () => document.getElementById("live").textContent.startsWith("Live"));
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  let requests = 0;
  const count = () => { requests += 1; };
  page.on("request", count);
  await fetch(new URL("/api/3/overview", world.address));
  await page.waitForTimeout(2500);
  assert.equal(requests, 0);
  const again = page.waitForRequest(/stream\?after=/);
  await hide(false);
  await again;
  page.off("request", count);
});

await step("a dead letter is requeued, and the audit log says who did it", page, async () => {
  await page.goto(at("/dead-letters"));
  await page.getByRole("button", { name: /^Requeue/ }).first().click();
  await page.waitForURL(/told=requeued/);
  // It is as malformed as before.
  await until(page, () => document.querySelector("h1 .s").textContent === "DEAD LETTER");
  await page.goto(at("/audit"));
  const row = page.locator("tbody tr", { hasText: "requeue" }).first();
  assert.match(await row.innerText(), /local\s+requeue[\s\S]*DONE/);
  await page.locator("summary", { hasText: "Filter" }).click();
  await page.getByLabel("What, or on what").fill("requeue");
  await page.getByRole("button", { name: "Show" }).click();
  await page.waitForURL(/what=requeue/);
  const rows = await page.locator("tbody tr").allInnerTexts();
  assert.ok(rows.length > 0 && rows.every((row) => row.includes("requeue")), rows.join("\n"));
});

await step("times to fix are fetched as a table", page, async () => {
  await page.goto(at("/report"));
  const link = await page.getByRole("link", { name: "These events as CSV" }).getAttribute("href");
  const answer = await fetch(new URL(link, page.url()));
  assert.match(answer.headers.get("content-type"), /^text\/csv/);
  assert.match(await answer.text(), /^event,search_key,severity/);
});

await step("what is not there says what to do", page, async () => {
  for (const place of ["/events/999999", "/builds/x", "/plans/sha256:00", "/nowhere", "/events?state=nonsense"]) {
    await page.goto(at(place));
    assert.ok((await page.locator("main p").first().innerText()).length > 10, place);
    await page.getByRole("link", { name: "To the overview" }).click();
    assert.equal(await heading(page), "Overview");
  }
});

await step("everything is reached by keyboard", page, async () => {
  await page.goto(at("/"));
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.keyboard.press("/");
  await page.keyboard.type(String(event));
  await page.keyboard.press("Enter");
  await page.waitForURL(new RegExp(`events/${event}$`));
});

const places = ["/", "/events", `/events/${event}`, `/events/${event}/graph`, `/events/${event}/not-rebuilt`, "/builds", "/queue", "/failures",
  "/dead-letters", "/messages/local/from-a-script", "/plans/new", "/report", "/audit", "/health", "/sign-in", "/search?q=nothing", "/nowhere",
  "/artifacts/docker.io%2Famd64%2Fbuildpack-deps%3Abookworm-curl"];

async function findings(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html).join(" | ")}`);
}

for (const [name, options] of [
  ["light", {}],
  ["dark", { colorScheme: "dark" }],
  ["on a phone", { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
]) {
  // The policy of the pages lets no foreign script in.
  const page = await chromium.page({ ...options, bypassCSP: true });
  await step(`axe finds nothing, ${name}`, page, async () => {
    await page.goto(at("/builds"));
    const build = await page.locator("tbody a", { hasText: /^build/ }).first().getAttribute("href");
    for (const place of [...places, build.replace("./", "/")]) {
      await page.goto(at(place));
      assert.deepEqual(await findings(page), [], place);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wide <= 0, `${place} is ${wide} px too wide`);
    }
  });
}

const phone = await chromium.page({ viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true });
await step("on a small phone nothing is too wide, and stacked cells have labels", phone, async () => {
  let labels = 0;
  for (const place of places) {
    await phone.goto(at(place));
    const faults = await phone.evaluate(() => {
      const faults = [];
      const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
      if (wide > 0) faults.push(`${wide} px too wide`);
      // A number alone says nothing once the head of its column is gone.
      for (const cell of document.querySelectorAll("td")) {
        if (getComputedStyle(cell).display === "none" || cell.closest("details:not([open])")) continue;
        const shown = getComputedStyle(cell, "::before").content;
        if (cell.dataset.l && !shown.includes(cell.dataset.l)) faults.push(`no label: ${cell.outerHTML}`);
        if (!cell.dataset.l && /^[\d,.]+$/.test(cell.innerText.trim())) faults.push(`a bare number: ${cell.outerHTML}`);
      }
      for (const head of document.querySelectorAll("thead")) {
        if (getComputedStyle(head).display !== "none") faults.push(`a head: ${head.outerHTML}`);
      }
      return { faults, labels: document.querySelectorAll("td[data-l]").length };
    });
    assert.deepEqual(faults.faults, [], place);
    labels += faults.labels;
  }
  assert.ok(labels > 10, `${labels} labels`);
});

const plain = await chromium.page({ javaScriptEnabled: false });
await step("all of it is read and written without a script", plain, async () => {
  for (const place of places) {
    await plain.goto(at(place));
    assert.ok((await plain.locator("h1").innerText()).length > 0, place);
    assert.equal(await plain.locator("main").count(), 1);
  }
  await plain.goto(at("/queue"));
  await plain.locator("summary", { hasText: "Pause" }).first().click();
  await plain.getByLabel("Why?").first().fill("a test");
  await plain.getByRole("button", { name: /^Pause / }).first().click();
  await plain.waitForURL(/told=paused/);
  assert.match(await plain.locator("main").innerText(), /PAUSED by local/);
  await plain.goto(at("/"));
  assert.match(await plain.locator("#alarms").innerText(), /is paused by local: a test/);
  await plain.goto(at("/queue"));
  await plain.getByRole("button", { name: /^Resume / }).click();
  await plain.waitForURL(/told=resumed/);
});

await step("no page has broken its own policy", page, async () => assert.deepEqual(chromium.faults, []));

await chromium.close();
cable.close();
world.interrupt();
assert.equal(await world.ended, 0, "the demonstration ends well when it is asked to");
console.log(failed ? `${failed} steps failed` : "all steps passed");
process.exit(failed ? 1 : 0);
