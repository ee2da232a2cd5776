// Who requests go out as, accounts, targets, quotas: one document of /_mp/overview on the page.
// Called by inspector.js. It writes text only, no markup.
"use strict";

const duration = (seconds) => {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
};
const TYPES = { service_account: "service account", oauth_browser: "browser login", oauth_token: "token" };

function axis(list, name, value, source) {
  const row = make("div");
  row.append(make("dt", "", name));
  const dd = make("dd", "", value);
  if (source) dd.append(make("small", "", source));
  row.append(dd);
  list.append(row);
}

function showWho(state) {
  const box = byId("who");
  box.replaceChildren();
  const session = state.session;
  if (!session) {
    box.append(make("p", "name", "nobody"));
    box.append(make("p", "sub", "No session resolves; requests that name all they need still work."));
    return;
  }
  box.append(make("p", "name", session.account.name));
  box.append(make("p", "sub", `${TYPES[session.account.type] ?? session.account.type}, region ${session.account.region}`));
  const list = make("dl");
  axis(list, "Account", session.account.name, session.sources.account);
  axis(list, "Project", session.project, session.sources.project);
  axis(list, "Workspace", session.workspace ?? "none", session.sources.workspace);
  for (const name of Object.keys(session.headers)) axis(list, "Header", name, "sent with each request");
  box.append(list);
  for (const text of [...session.warnings, ...state.warnings]) box.append(make("p", "warning", text));
}

function expiry(account) {
  if (account.problem) return ["bad", account.problem.detail];
  if (account.type !== "oauth_browser") return ["", account.credential];
  if (account.expires_at == null) return ["warn", "not logged in"];
  const left = account.expires_at - Date.now() / 1000;
  return left > 0 ? ["", `token for ${duration(left)}`] : ["warn", "token expired"];
}

function fill(id, items, emptyText, draw) {
  const list = byId(id);
  list.replaceChildren();
  if (!items.length) list.append(make("li", "empty", emptyText));
  for (const item of items) {
    const row = make("li");
    draw(row, item);
    list.append(row);
  }
}

// Everything of the state but the requests.
function showState(state) {
  byId("version").textContent = state.version;
  byId("total").textContent = number.format(state.requests);
  byId("refused").textContent = number.format(state.refused);
  byId("flying").textContent = number.format(state.in_flight);
  const { opened, reused } = state.connections;
  byId("reused").textContent = opened + reused ? `${Math.floor((100 * reused) / (opened + reused))} %` : "–";
  byId("uptime").textContent = duration(state.uptime_seconds);
  const problem = state.problem ?? state.policy.stale;
  const notice = byId("notice");
  notice.hidden = !problem;
  if (problem) {
    notice.replaceChildren(make("b", "", `${problem.code}: `), problem.detail);
    if (problem.hint) notice.append(make("code", "", problem.hint));
  }
  showWho(state);
  byId("accounts-count").textContent = state.accounts.length || "";
  fill("accounts", state.accounts, "None in the config.", (row, account) => {
    row.append(make("b", "", account.name));
    if (account.active) row.append(make("span", "tag", "active"));
    const [grade, text] = expiry(account);
    const meta = make("span", `meta ${grade}`, [account.region, text].filter(Boolean).join(" · "));
    meta.title = meta.textContent;
    row.append(meta);
  });
  byId("targets-count").textContent = state.targets.length || "";
  fill("targets", state.targets, "None in the config.", (row, target) => {
    row.append(make("b", "", target.name));
    const text = target.problem ? target.problem.detail
      : [target.account, target.project, target.workspace].filter((part) => part != null).join(" / ");
    row.append(make("span", `meta ${target.problem ? "bad" : ""}`, text));
  });
  byId("quota-card").hidden = !state.quotas.length;
  const projects = [...new Set(state.quotas.map((quota) => quota.project))];
  fill("quotas", projects, "", (row, project) => {
    row.append(make("b", "", project));
    for (const quota of state.quotas) if (quota.project === project) row.append(budget(quota));
  });
}

function budget({ api, left, limit }) {
  const line = make("div", "budget");
  const gauge = make("span", `gauge ${left === 0 ? "none" : left <= limit / 6 ? "low" : ""}`);
  const part = make("i");
  part.style.width = `${(100 * left) / Math.max(1, limit)}%`;
  gauge.append(part);
  line.append(make("span", "", api), gauge, make("span", "num", `${left} of ${limit}`));
  return line;
}
