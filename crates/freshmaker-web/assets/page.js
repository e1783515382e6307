// Keeps a page up to date, and shows how long ago things were. Everything works without it.
"use strict";
(() => {
  const body = document.body;
  const note = document.getElementById("live");
  const every = Number(body.dataset.every) * 1000;
  const stream = body.dataset.stream;
  let after = body.dataset.after, source = null;

  // How long ago. What is further away than a day is shown with its date.
  const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
  const ago = (ms) => {
    const s = Math.round(Math.abs(ms) / 1000);
    const text = s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h ${Math.floor((s / 60) % 60)} min`;
    return ms < 0 ? `in ${text}` : `${text} ago`;
  };
  const tell = (root) => {
    const now = Date.now();
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = Date.parse(time.dateTime);
      const far = Math.abs(now - at) > 86400000;
      const text = far ? zone.format(at) : `${ago(now - at)} (${clock.format(at)})`;
      time.title ||= time.textContent;
      if (time.textContent !== text) time.textContent = text;
    }
  };

  // What the server has sent for each part, before anything here has changed it.
  const parts = () => document.querySelectorAll("[data-live]");
  const sent = new Map();
  for (const part of parts()) sent.set(part.id, part.innerHTML);

  const typing = (part) => {
    const focus = document.activeElement;
    if (!part.contains(focus)) return false;
    return focus.matches("input, textarea");
  };
  const filled = (part) => [...part.querySelectorAll("input, textarea")].some((field) =>
    field.type === "radio" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);

  const replace = (part, html) => {
    const focus = part.contains(document.activeElement) ? document.activeElement : null;
    const like = focus && (focus.id ? `#${CSS.escape(focus.id)}` : focus.getAttribute("href") ? `a[href="${CSS.escape(focus.getAttribute("href"))}"]` : null);
    const open = [...part.querySelectorAll("details")].map((details) => details.open);
    const left = [...part.querySelectorAll(".wide")].map((wide) => [wide.scrollLeft, wide.scrollTop]);
    part.innerHTML = html;
    part.querySelectorAll("details").forEach((details, place) => { if (place in open) details.open = open[place]; });
    part.querySelectorAll(".wide").forEach((wide, place) => { if (place in left) wide.scrollTo(...left[place]); });
    tell(part);
    if (like) part.querySelector(like)?.focus({ preventScroll: true });
  };

  // Until when the page is known to be as things were, and what is wrong since.
  let fresh = Date.now(), last = fresh, wrong = "";
  const say = (text) => { if (note && note.textContent !== text) note.textContent = text; };
  const old = (why) => {
    wrong = why;
    say(`Not up to date since ${new Date(fresh).toLocaleTimeString()}: ${why}.`);
  };
  const well = () => {
    wrong = "";
    fresh = Date.now();
    say(source?.readyState === EventSource.OPEN ? "Live: this page follows what happens." : "");
  };

  let busy = false, wanted = false, next = 0, timer = 0;
  const refresh = async () => {
    timer = 0;
    if (document.hidden) { wanted = true; return; }
    if (busy) { wanted = true; return; }
    busy = true;
    wanted = false;
    const began = Date.now();
    let failed = false;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-cache", signal: AbortSignal.timeout(20000) });
      if (answer.status === 401 || answer.status === 403) { stop(); old("sign in again"); return; }
      if (!answer.ok) throw new Error(`the service answers ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of parts()) {
        const html = page.getElementById(part.id)?.innerHTML;
        if (html === undefined || html === sent.get(part.id)) continue;
        if (typing(part) || filled(part)) { wanted = true; continue; }
        sent.set(part.id, html);
        replace(part, html);
      }
      if (!stream || source?.readyState === EventSource.OPEN) well();
    } catch (error) {
      old(error.name === "TimeoutError" ? "the service does not answer" : error.name === "TypeError" ? "the service cannot be reached" : error.message);
      failed = wanted = true;
    } finally {
      busy = false;
      // A slow page is not asked for more often than it can be made.
      next = Date.now() + Math.max(900, 4 * (Date.now() - began));
      if (wanted && !document.hidden) soon(failed ? 5000 : 2000);
    }
  };
  const soon = (least = 120) => {
    if (!timer) timer = setTimeout(refresh, Math.max(least, next - Date.now()));
  };

  let tick = 0;
  const heard = (event) => {
    if (event.lastEventId) after = event.lastEventId;
    last = Date.now();
    if (event.type !== "alive") soon();
    else if (!wrong) fresh = last;
  };
  const listen = () => {
    if (!stream || source) return;
    // A new stream sends no position by itself.
    source = new EventSource(`${stream}?after=${encodeURIComponent(after)}`);
    last = Date.now();
    source.onopen = () => { last = Date.now(); if (wrong) soon(); else well(); };
    source.onerror = () => {
      old("the connection is lost, and tried again");
      if (source && source.readyState === EventSource.CLOSED) { source = null; setTimeout(() => { if (!document.hidden) listen(); }, 10000); }
    };
    for (const kind of ["event.changed", "build.changed", "reset", "alive"]) source.addEventListener(kind, heard);
  };
  // The service sends something every 15 seconds.
  const watch = () => {
    if (!source || Date.now() - last < 45000) return;
    source.close();
    source = null;
    old("nothing is heard from the service");
    listen();
    soon();
  };
  const stop = () => {
    source?.close();
    source = null;
    clearInterval(tick);
    tick = 0;
  };
  const start = () => {
    listen();
    if (every && !tick) tick = setInterval(soon, every);
  };

  // A picture that is larger than its room shows first what has changed, or else where it begins.
  for (const graph of document.querySelectorAll(".graph")) {
    const first = graph.querySelector(".changed rect") ?? graph.querySelector("a rect");
    const box = first?.getBoundingClientRect(), room = graph.getBoundingClientRect();
    if (box) graph.scrollBy(box.x + box.width / 2 - room.x - room.width / 2, box.y + box.height / 2 - room.y - room.height / 2);
  }

  tell(document);
  setInterval(() => { if (!document.hidden) { tell(document); watch(); } }, 5000);
  if (parts().length) {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) { stop(); return; }
      start();
      if (wanted || !stream) soon();
    });
    if (!document.hidden) start();
  }

  // Keys: none of them changes anything.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
    if (event.key === "/") { event.preventDefault(); document.getElementById("search")?.focus(); }
  });
})();
