// The inspector: reads /_mp/overview now and then and /_mp/events as they come. It writes text
// only (no markup), keeps a bounded number of requests, and touches the page once a frame.
"use strict";

const KEPT = 1000; // requests in memory
const ROWS = 250; // requests on the page
const store = {
  get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* private mode */ } },
};

/* ---- colours ---- */
const THEMES = ["auto", "light", "dark"];
let theme = store.get("mp-proxy-theme");
function paint() {
  if (!THEMES.includes(theme)) theme = "auto";
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme[0].toUpperCase() + theme.slice(1);
}
function nextTheme() {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  store.set("mp-proxy-theme", theme);
  paint();
}

/* ---- overview ---- */
function learn(state) {
  tokenRequired = state.token_required;
  accountNames = new Set(state.accounts.map((account) => account.name));
  byId("example").textContent = ["curl", ...token(), `${location.origin}/api/query/events/names`].join(" ");
  showState(state);
  ready = state.ready;
  showLink();
}

// Counters and quotas follow the requests, but not each of them.
let soonTimer = 0;
function refreshSoon() {
  soonTimer ||= setTimeout(refresh, 1000);
}

async function refresh() {
  soonTimer = 0;
  if (document.hidden) return;
  try {
    const answer = await fetch(`${location.origin}/_mp/overview`, { headers: { accept: "application/json" } });
    if (answer.ok) learn(await answer.json());
  } catch { /* the event stream tells that the proxy is gone */ }
}

/* ---- connection ---- */
let ready = false;
let link = "connecting";
function showLink() {
  const pill = byId("ready");
  const [grade, text] = link !== "open" ? ["warn", link] : ready ? ["good", "ready"] : ["bad", "not ready"];
  pill.className = `pill ${grade}`;
  pill.textContent = text;
}

/* ---- requests ---- */
let requests = []; // newest first
let waiting = []; // arrived, not shown yet; newest last
let missed = 0;
let seen = 0;
let chosen = null;
let paused = false;
let scheduled = false;
let serial = 0;

function heard(message) {
  const { missed: lost, requests: batch } = JSON.parse(message.data);
  missed += lost;
  seen += lost + batch.length;
  for (const request of batch) {
    request.key = ++serial;
    waiting.push(request);
  }
  refreshSoon();
  if (waiting.length > KEPT) {
    missed += waiting.length - KEPT;
    waiting = waiting.slice(-KEPT);
  }
  schedule();
}

function schedule() {
  if (scheduled || paused) return;
  scheduled = true;
  requestAnimationFrame(draw);
}

let words = [];
const haystack = (r) => `${r.method} ${r.path} ${r.status} ${r.account ?? ""} ${r.project ?? ""} ${r.code ?? ""} ${r.caller} ${r.request_id}`.toLowerCase();
const matches = (request) => words.every((word) => haystack(request).includes(word));

function draw() {
  scheduled = false;
  if (!waiting.length || paused) return counts();
  const fresh = waiting.reverse();
  waiting = [];
  requests = fresh.concat(requests).slice(0, KEPT);
  const list = byId("list");
  const rows = fresh.filter(matches).slice(0, ROWS).map((request) => row(request, "row new"));
  const fragment = document.createDocumentFragment();
  fragment.append(...rows);
  list.prepend(fragment);
  // The blank state is the last child and stays; the oldest row stands before it.
  for (let more = list.childElementCount - 1 - ROWS; more > 0; more--) byId("blank").previousElementSibling.remove();
  counts();
}

function redraw() {
  const list = byId("list");
  for (const old of list.querySelectorAll(".row")) old.remove();
  const fragment = document.createDocumentFragment();
  fragment.append(...requests.filter(matches).slice(0, ROWS).map((request) => row(request, "row")));
  list.prepend(fragment);
  counts();
}

function counts() {
  byId("blank").hidden = requests.length > 0;
  const held = paused && waiting.length ? `, ${number.format(waiting.length)} held` : "";
  const lost = missed ? `, ${number.format(missed)} not shown` : "";
  byId("shown").textContent = seen ? `${number.format(seen)}${held}${lost}` : "";
}

const time = (stamp) => new Date(stamp).toLocaleTimeString("en-GB");
const ms = (value) => value < 1 ? `${value.toFixed(2)} ms` : value < 100 ? `${value.toFixed(1)} ms`
  : value < 10000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
const bytes = (value) => value < 1000 ? `${value} B` : value < 1e6 ? `${(value / 1e3).toFixed(1)} kB`
  : value < 1e9 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e9).toFixed(2)} GB`;
const phases = (r) => [
  ["own", "proxy", r.own_ms],
  ["paced", "quota", r.paced_ms],
  ["wait", "Mixpanel", r.upstream_ms],
  ["body", "body", Math.max(0, r.ms - r.own_ms - r.paced_ms - r.upstream_ms)],
];

function bar(request) {
  const track = make("span", "track");
  for (const [name, , value] of phases(request)) {
    if (!value) continue;
    const part = make("i", name);
    part.style.flexGrow = value;
    track.append(part);
  }
  return track;
}

function row(request, className) {
  const node = make("div", className);
  node.id = `r${request.key}`;
  node.setAttribute("role", "option");
  node.setAttribute("aria-selected", request === chosen ? "true" : "false");
  node.append(make("span", "time", time(request.timestamp)), make("span", "method", request.method));
  const path = make("span", "path", request.path);
  if (request.query.length) path.append(make("em", "", `?${request.query.join("&")}`));
  path.title = request.path;
  node.append(path, make("span", `status s${Math.floor(request.status / 100)}`, request.cut ? `${request.status}✂` : request.status));
  if (request.cut) node.querySelector(".status").title = "cut off";
  node.append(make("span", "as", request.account ? `${request.account} / ${request.project}` : request.code ?? "–"));
  node.append(make("span", "num", ms(request.ms)));
  const timing = make("span", "timing");
  const track = bar(request);
  // Logarithmic: a millisecond and a minute both have to be seen.
  track.style.width = `${Math.min(100, 4 + 96 * Math.log10(1 + request.ms) / Math.log10(60001))}%`;
  timing.append(track);
  node.append(timing);
  return node;
}

/* ---- the chosen request ---- */
let tokenRequired = false;
let accountNames = new Set();
// The shell puts it in: the page never knows the token.
const token = () => tokenRequired ? ["-H", '"X-Mp-Proxy-Token: $MP_PROXY_TOKEN"'] : [];
const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
function curl(request) {
  const query = request.query.map((name) => `${name}=…`).join("&");
  const parts = ["curl", ...token()];
  if (/[[\]{}]/.test(request.path + query)) parts.push("--globoff");
  if (request.method === "HEAD") parts.push("--head");
  else if (request.method !== "GET") parts.push("-X", request.method);
  // An account of the environment or of a bridge cannot be named; it is what goes out anyway.
  if (accountNames.has(request.account)) parts.push("-H", quote(`X-Mp-Account: ${request.account}`));
  if (request.project) parts.push("-H", quote(`X-Mp-Project: ${request.project}`));
  if (request.workspace) parts.push("-H", quote(`X-Mp-Workspace: ${request.workspace}`));
  if (request.bytes_up) parts.push("--data-binary", "@body");
  parts.push(quote(`${location.origin}${request.path}${query && `?${query}`}`));
  return parts.join(" ");
}

function choose(request) {
  const old = chosen && byId(`r${chosen.key}`);
  if (old) old.setAttribute("aria-selected", "false");
  chosen = request;
  byId("detail").hidden = !request;
  const list = byId("list");
  if (!request) return list.removeAttribute("aria-activedescendant");
  const node = byId(`r${request.key}`);
  if (node) {
    node.setAttribute("aria-selected", "true");
    list.setAttribute("aria-activedescendant", node.id);
  }
  byId("detail-title").textContent = `${request.method} ${request.path}`;
  const facts = byId("detail-facts");
  facts.replaceChildren();
  const fact = (name, value) => {
    if (value == null || value === "") return;
    const pair = make("div");
    pair.append(make("dt", "", name), make("dd", "", value));
    facts.append(pair);
  };
  fact("Status", request.cut ? `${request.status}, cut off` : request.status);
  fact("Refused", request.code && `${request.code}: ${request.detail}`);
  fact("Sent as", request.account && [request.account, request.project, request.workspace].filter(Boolean).join(" / "));
  fact("Caller", request.caller);
  fact("Route", request.route);
  fact("Body up", request.bytes_up ? bytes(request.bytes_up) : null);
  fact("Body down", bytes(request.bytes_down));
  fact("Request id", request.request_id);
  fact("Trace", request.trace_id);
  const list2 = byId("phases");
  list2.replaceChildren();
  for (const [name, label, value] of phases(request)) {
    if (!value) continue;
    const item = make("li");
    item.append(make("i", name), `${label} ${ms(value)}`);
    list2.append(item);
  }
  byId("bar").replaceChildren(bar(request));
  byId("curl").textContent = curl(request);
  node?.scrollIntoView({ block: "nearest" });
}

function step(by) {
  const rows = [...byId("list").querySelectorAll(".row")];
  if (!rows.length) return;
  const at = chosen ? rows.findIndex((node) => node.id === `r${chosen.key}`) : -1;
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
  choose(requests.find((request) => `r${request.key}` === next.id) ?? null);
}

let toastTimer = 0;
function toast(text) {
  const node = byId("toast");
  node.textContent = text;
  node.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { node.hidden = true; }, 1800);
}

async function copy() {
  if (!chosen) return;
  try {
    await navigator.clipboard.writeText(curl(chosen));
    toast("Copied");
  } catch {
    getSelection().selectAllChildren(byId("curl"));
    toast("Press Ctrl+C to copy");
  }
}

function pause() {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = paused ? "Go on" : "Pause";
  if (paused) counts();
  else schedule();
}

/* ---- wiring ---- */
byId("theme").addEventListener("click", nextTheme);
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("pause").addEventListener("click", pause);
byId("copy").addEventListener("click", copy);
byId("close").addEventListener("click", () => { choose(null); byId("list").focus(); });
byId("clear").addEventListener("click", () => {
  requests = [];
  waiting = [];
  missed = 0;
  seen = 0;
  choose(null);
  redraw();
});
byId("filter").addEventListener("input", (event) => {
  words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  redraw();
});
byId("list").addEventListener("click", (event) => {
  const node = event.target.closest(".row");
  if (node) choose(requests.find((request) => `r${request.key}` === node.id) ?? null);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  if (event.target instanceof HTMLInputElement) {
    if (event.key === "Escape") byId("list").focus();
    return;
  }
  const act = {
    j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
    c: copy, p: pause, t: nextTheme, Escape: () => choose(null),
    "/": () => byId("filter").focus(), "?": () => byId("keys").showModal(),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
document.addEventListener("visibilitychange", refresh);

paint();
// From the origin: a page that was opened as http://NAME:TOKEN@… has a base that may not be fetched from.
const source = new EventSource(`${location.origin}/_mp/events`);
source.addEventListener("open", () => { link = "open"; showLink(); refresh(); });
source.addEventListener("error", () => { link = "reconnecting"; showLink(); });
source.addEventListener("requests", heard);
setInterval(refresh, 5000);
