// Keeps a page up to date, and shows how long ago things were. Everything works without it.
"use strict";
(() => {
  const body = document.body;
  const note = document.getElementById("live");
  const every = Number(body.dataset.every) * 1000;
  const stream = body.dataset.stream;
  let after = body.dataset.after;

  // How long ago. What is further away than a day is shown with its date.
  const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
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
      const text = far ? zone.format(at) : ago(now - at);
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
    const left = [...part.querySelectorAll(".wide")].map((wide) => wide.scrollLeft);
    part.innerHTML = html;
    part.querySelectorAll("details").forEach((details, place) => { if (place in open) details.open = open[place]; });
    part.querySelectorAll(".wide").forEach((wide, place) => { wide.scrollLeft = left[place] || 0; });
    tell(part);
    if (like) part.querySelector(like)?.focus({ preventScroll: true });
  };

  let busy = false, wanted = false, next = 0, timer = 0;
  const refresh = async () => {
    timer = 0;
    if (document.hidden) { wanted = true; return; }
    if (busy) { wanted = true; return; }
    busy = true;
    wanted = false;
    const began = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-cache" });
      if (answer.status === 401 || answer.status === 403) { stop("Not up to date: sign in again."); return; }
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of parts()) {
          const html = page.getElementById(part.id)?.innerHTML;
          if (html === undefined || html === sent.get(part.id)) continue;
          if (typing(part) || filled(part)) { wanted = true; continue; }
          sent.set(part.id, html);
          replace(part, html);
        }
      }
    } catch {
      // The network is away: the stream says so, and comes back.
    } finally {
      busy = false;
      // A slow page is not asked for more often than it can be made.
      next = Date.now() + Math.max(900, 4 * (Date.now() - began));
      if (wanted && !document.hidden) soon(2000);
    }
  };
  const soon = (least = 120) => {
    if (!timer) timer = setTimeout(refresh, Math.max(least, next - Date.now()));
  };

  let source = null, tick = 0;
  const say = (text) => { if (note && note.textContent !== text) note.textContent = text; };
  const heard = (event) => {
    if (event.lastEventId) after = event.lastEventId;
    soon();
  };
  const listen = () => {
    if (!stream || source) return;
    // A new stream sends no position by itself.
    source = new EventSource(`${stream}?after=${encodeURIComponent(after)}`);
    source.onopen = () => say("Live: this page follows what happens.");
    source.onerror = () => {
      say("Not up to date: the connection is lost, and tried again.");
      if (source && source.readyState === EventSource.CLOSED) { source = null; setTimeout(() => { if (!document.hidden) listen(); }, 10000); }
    };
    for (const kind of ["event.changed", "build.changed", "reset"]) source.addEventListener(kind, heard);
  };
  const stop = (text) => {
    source?.close();
    source = null;
    clearInterval(tick);
    tick = 0;
    if (text) say(text);
  };
  const start = () => {
    listen();
    if (every && !tick) tick = setInterval(soon, every);
  };

  tell(document);
  setInterval(() => { if (!document.hidden) tell(document); }, 5000);
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
