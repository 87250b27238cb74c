"use strict";
// The dashboard. Everything that an app could have written is put in as text, never as markup.

const $ = (id) => document.getElementById(id);
const LOG_LINES = 1000;
const EVENTS = 200;
let session = { read_only: true, csrf: null };
let all = null;
let chosen = null;
let stream = null;
let logStream = null;
let chartTimer = null;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

async function call(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Csrf-Token": session.csrf || "" },
    body: JSON.stringify(body),
  };
  const answer = await fetch(path, options);
  const value = await answer.json();
  if (answer.status === 401 && path !== "/api/v1/login") showLogin();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

function say(text) {
  $("said").textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { $("said").textContent = ""; }, 6000);
}

// --- figures ---

const bytes = (count) => {
  const units = ["B", "K", "M", "G", "T"];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) { count /= 1024; at += 1; }
  return `${count >= 10 || at === 0 ? Math.round(count) : count.toFixed(1)}${units[at]}`;
};
const since = (ms) => {
  const seconds = Math.max(0, Math.round((all.at_ms - ms) / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
};
const kindOf = (status) =>
  ["online", "scheduled"].includes(status) ? "good" : ["errored", "failed"].includes(status) ? "bad" : status === "stopped" ? "quiet" : "wait";
const until = (ms) => since(2 * all.at_ms - ms);
const sum = (list, key) => list.reduce((total, one) => total + one[key], 0);

// --- apps ---

function drawApps() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = all.apps.filter((app) => {
    const text = [app.name, app.namespace, app.kind, ...app.workers.map((one) => one.shown)].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const kinds = ["app", "balancer", "module"];
  wanted.sort((one, other) => kinds.indexOf(one.kind) - kinds.indexOf(other.kind));
  // A page that is drawn anew loses the keyboard's place: it is given back.
  const focus = document.activeElement && document.activeElement.dataset.key;
  $("apps").replaceChildren(...wanted.map(drawApp));
  if (focus) document.querySelector(`[data-key="${CSS.escape(focus)}"]`)?.focus();
  if (wanted.length === 0) $("apps").append(element("p", { className: "quiet", textContent: all.apps.length ? "Nothing matches." : "No apps yet: rpm start app.js" }));
  $("host").textContent = `load ${all.host.load[0].toFixed(2)} of ${all.host.cpus} · memory ${bytes(all.host.memory_total - all.host.memory_available)} of ${bytes(all.host.memory_total)} · v${all.daemon.version}`;
}

function drawApp(app) {
  const up = app.workers.filter((one) => one.status === "online").length;
  const state = up === app.workers.length ? "good" : up > 0 ? "wait" : kindOf(app.workers[0]?.shown);
  const name = element("button", { className: "name", textContent: app.name, onclick: () => choose(app.id) });
  name.dataset.key = `${app.id} name`;
  const head = element("div", {}, name,
    element("span", { className: state, textContent: up === 0 && app.workers.length === 1 ? app.workers[0].shown : `${up}/${app.workers.length} up` }),
    element("span", { className: "quiet", textContent: `${app.namespace} · ${app.exec_mode}${app.rolling ? " · reloading" : ""}` }),
    element("span", { textContent: `cpu ${sum(app.workers, "cpu").toFixed(1)} %` }),
    element("span", { textContent: `mem ${bytes(sum(app.workers, "memory"))}` }));
  if (app.traffic) {
    const { requests_per_second: rate, p99_ms: p99, in_flight: inFlight, queue } = app.traffic;
    head.append(element("span", { textContent: `${rate.toFixed(1)} req/s · p99 ${p99 === null ? "–" : `${p99.toFixed(1)} ms`} · ${inFlight} in flight · ${queue} waiting` }));
  }
  if (app.next_run_ms) head.append(element("span", { className: "quiet", textContent: `next in ${until(app.next_run_ms)}` }));
  if (!session.read_only) {
    const buttons = ["reload", "restart", "stop", "scale"].map((verb) => {
      const button = element("button", { textContent: verb, onclick: () => act(app, verb) });
      button.dataset.key = `${app.id} ${verb}`;
      button.disabled = verb === "scale" && app.kind !== "app";
      return button;
    });
    head.append(element("span", { className: "buttons" }, ...buttons));
  }
  const rows = app.workers.map((one) => element("tr", {},
    element("td", { textContent: `${app.name}:${one.instance}` }),
    element("td", { className: kindOf(one.shown), textContent: one.shown, title: one.why || "" }),
    element("td", { textContent: one.pid && one.started_at_ms ? since(one.started_at_ms) : "–" }),
    element("td", { textContent: `${one.cpu.toFixed(1)} %` }),
    element("td", { textContent: bytes(one.memory) }),
    element("td", { textContent: one.restarts }),
    element("td", { className: "wide", textContent: one.pid ?? "–" }),
    element("td", { className: "wide quiet", textContent: one.why || one.cause || "" })));
  const titles = ["worker", "status", "for", "cpu", "memory", "restarts", "pid", "why"];
  const heads = titles.map((title, at) => element("th", { textContent: title, className: at > 5 ? "wide" : "" }));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
  const box = element("article", { className: "app" }, head, table);
  box.dataset.app = app.name;
  return box;
}

function ask(text, count) {
  $("ask-text").textContent = text;
  $("ask-more").hidden = count === undefined;
  if (count !== undefined) $("ask-count").value = count;
  $("ask").returnValue = "no";
  $("ask").showModal();
  return new Promise((done) => {
    $("ask").onclose = () => done($("ask").returnValue === "yes");
  });
}

async function act(app, verb) {
  const count = app.workers.length;
  const workers = count === 1 ? "its worker" : `all ${count} workers`;
  const texts = {
    reload: `Reload ${app.name}? ${workers} will be replaced one after another; no request is lost where the port is shared.`,
    restart: `Restart ${app.name}? ${workers} will be stopped and started.`,
    stop: `Stop ${app.name}? ${workers} will no longer serve.`,
    scale: `Scale ${app.name} to how many workers?`,
  };
  if (!await ask(texts[verb], verb === "scale" ? count : undefined)) return;
  try {
    say(`${verb} ${app.name} …`);
    await call(`/api/v1/apps/${app.id}/${verb}`, verb === "scale" ? { instances: Number($("ask-count").value) } : {});
    say(`${verb} ${app.name}: done`);
  } catch (error) {
    say(`${verb} ${app.name}: ${error.message}`);
  }
}

// --- details ---

function choose(id) {
  const app = all.apps.find((one) => one.id === id);
  if (!app) return;
  chosen = id;
  $("detail").hidden = false;
  $("detail-name").textContent = app.name;
  $("log").replaceChildren();
  closeDetail.streams();
  call(`/api/v1/apps/${id}/logs?last=100`).then(({ lines }) => {
    if (chosen !== id) return;
    lines.forEach(addLine);
    logStream = new EventSource(`/api/v1/apps/${id}/logs/stream`);
    logStream.addEventListener("line", (event) => addLine(JSON.parse(event.data)));
  }, (error) => say(error.message));
  drawCharts();
  chartTimer = setInterval(drawCharts, 5000);
  $("detail").scrollIntoView({ block: "nearest" });
}

function closeDetail() {
  chosen = null;
  $("detail").hidden = true;
  closeDetail.streams();
}
closeDetail.streams = () => {
  logStream?.close();
  logStream = null;
  clearInterval(chartTimer);
};

function addLine({ stream: name, text }) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
  log.append(element("span", { className: name, textContent: `${text}\n` }));
  while (log.childElementCount > LOG_LINES) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

async function drawCharts() {
  const id = chosen;
  const { points } = await call(`/api/v1/apps/${id}/history`).catch(() => ({ points: [] }));
  if (chosen !== id) return;
  const charts = [["CPU", "cpu", (value) => `${value.toFixed(1)} %`], ["Memory", "memory", bytes]];
  if (all.apps.find((app) => app.id === id)?.traffic) {
    charts.push(["Requests", "rate", (value) => `${value.toFixed(1)}/s`], ["p99", "p99", (value) => `${value.toFixed(1)} ms`]);
  }
  $("charts").replaceChildren(...charts.map(([title, key, show]) => chart(title, points, key, show)));
}

function chart(title, points, key, show) {
  const values = points.map((point) => point[key] ?? 0);
  const top = Math.max(...values, 1e-9);
  const from = points.length ? points[0].at : 0;
  const span = points.length ? Math.max(points.at(-1).at - from, 1) : 1;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "chart");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", points.map((point, at) => `${at ? "L" : "M"}${((point.at - from) / span * 100).toFixed(2)} ${(98 - values[at] / top * 92).toFixed(2)}`).join(""));
  svg.append(path);
  const now = values.length ? show(values.at(-1)) : "–";
  return element("figure", {}, element("figcaption", { textContent: `${title}: ${now}, highest ${values.length ? show(top) : "–"}` }), svg);
}

// --- events ---

function addEvent({ at_ms: at, app, worker, event, detail, by }) {
  const who = app ? `${app}${worker === undefined ? "" : ` [${worker}]`}` : "";
  const text = [who, event, detail, by && `by ${by}`].filter(Boolean).join(" · ");
  const kind = /exit|errored|unhealthy/.test(event) ? "bad" : event === "online" ? "good" : "";
  const time = element("time", { textContent: new Date(at).toLocaleTimeString() });
  $("events").prepend(element("li", {}, time, element("span", { className: kind, textContent: text })));
  while ($("events").childElementCount > EVENTS) $("events").lastElementChild.remove();
}

// --- coming and going ---

function showLogin() {
  stream?.close();
  stream = null;
  closeDetail();
  $("main").hidden = true;
  $("login").hidden = false;
  $("token").focus();
}

async function enter() {
  session = await call("/api/v1/session");
  all = await call("/api/v1/apps");
  $("login").hidden = true;
  $("main").hidden = false;
  $("events").replaceChildren();
  drawApps();
  (await call("/api/v1/events?last=100")).events.forEach(addEvent);
  stream = new EventSource("/api/v1/stream");
  stream.onopen = () => { $("link").textContent = ""; };
  stream.onerror = () => { $("link").textContent = "connection lost, trying again …"; };
  stream.addEventListener("apps", (event) => { all = JSON.parse(event.data); drawApps(); });
  stream.addEventListener("happened", (event) => addEvent(JSON.parse(event.data)));
}

$("login").onsubmit = async (event) => {
  event.preventDefault();
  try {
    await call("/api/v1/login", { token: $("token").value });
    $("token").value = "";
    $("login-error").textContent = "";
    await enter();
  } catch (error) {
    $("login-error").textContent = error.message === undefined ? String(error) : error.message;
  }
};
$("leave").onclick = async () => { await call("/api/v1/logout", {}).catch(() => {}); showLogin(); };
$("filter").oninput = drawApps;
$("detail-close").onclick = closeDetail;
$("only-err").onchange = () => $("log").classList.toggle("only-err", $("only-err").checked);
enter().catch(showLogin);
