// What the tests drive: the demonstration, a way to it that can be cut, and a browser.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import readline from "node:readline";

const packages = process.env.BROWSER_PACKAGES ?? path.resolve("target/browser");
const require = createRequire(path.join(packages, "package.json"));
export const { chromium } = require("playwright-core");
export const axe = require("axe-core").source;

/// Starts the demonstration, and returns its address once it has told it.
export async function demonstration(...options) {
  const program = process.env.DEMONSTRATION ?? path.resolve("target/debug/demonstration");
  const child = spawn(program, ["--listen", "127.0.0.1:0", "--no-browser", ...options], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
  const lines = readline.createInterface({ input: child.stdout });
  const address = await new Promise((resolve, reject) => {
    lines.on("line", (line) => { if (line.startsWith("http://")) resolve(new URL(line)); });
    ended.then((code) => reject(new Error(`the demonstration ended with ${code}`)));
    child.once("error", reject);
  });
  return { address, interrupt: () => child.kill("SIGINT"), ended };
}

/// A way to an address that can be cut: what is open ends, and what is new is refused until it is mended.
export async function way(to) {
  const open = new Set();
  let cut = false;
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    if (cut) { socket.destroy(); return; }
    const other = net.connect(Number(to.port), to.hostname);
    other.on("error", () => socket.destroy());
    open.add(socket);
    socket.on("close", () => { open.delete(socket); other.destroy(); });
    socket.pipe(other).pipe(socket);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: new URL(`http://127.0.0.1:${server.address().port}/`),
    cut() { cut = true; for (const socket of open) socket.destroy(); },
    mend() { cut = false; },
    close() { this.cut(); server.close(); },
  };
}

/// A browser, and everything that went wrong in its pages.
export async function browser() {
  const started = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  const faults = [];
  return {
    faults,
    async page(options = {}) {
      const context = await started.newContext({ viewport: { width: 1280, height: 900 }, ...options });
      context.setDefaultTimeout(20_000);
      const page = await context.newPage();
      page.on("pageerror", (error) => faults.push(`${page.url()}: ${error}`));
      page.on("console", (message) => {
        // That the way is cut is part of a test.
        const isOfNetwork = /net::ERR_|Failed to load resource/.test(message.text());
        if (message.type() === "error" && !isOfNetwork) faults.push(`${page.url()}: ${message.text()}`);
      });
      return page;
    },
    close: () => started.close(),
  };
}

/// Where screenshots of failed steps are kept.
export function kept() {
  const directory = process.env.BROWSER_FAILURES ?? path.resolve("target/browser-failures");
  mkdirSync(directory, { recursive: true });
  return directory;
}
