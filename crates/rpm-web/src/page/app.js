"use strict";
// The dashboard. Everything that an app could have written is put in as text, never as markup.

const $ = (id) => document.getElementById(id);
const LOG_LINES = 1000;
const EVENTS = 200;
// Seconds of silence after which the picture is called old: it comes once a second.
const SILENCE = 4;
let session = { read_only: true, csrf: null };
let all = null;
let chosen = null;
let stream = null;
let logStream = null;
let detailTimer = null;
// When something was last heard of the daemon, by this browser's clock.
let heard = Date.now();

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

// Makes what is there like what was made, and leaves alone what is so already: a press of the mouse, a selection and the
// keyboard's place outlive it. Elements with a key are known by it.
function morph(there, made) {
  if (there.nodeType === Node.TEXT_NODE) {
    if (there.data !== made.data) there.data = made.data;
    return;
  }
  for (const { name } of [...there.attributes]) if (!made.hasAttribute(name)) there.removeAttribute(name);
  for (const { name, value } of made.attributes) if (there.getAttribute(name) !== value) there.setAttribute(name, value);
  morphChildren(there, [...made.childNodes]);
}

function morphChildren(parent, made) {
  const keyOf = (node) => node.dataset?.key;
  const wanted = new Set(made.map(keyOf));
  for (const node of [...parent.childNodes]) if (keyOf(node) && !wanted.has(keyOf(node))) node.remove();
  const keyed = new Map([...parent.children].filter(keyOf).map((node) => [keyOf(node), node]));
  let at = parent.firstChild;
  for (const next of made) {
    const same = keyOf(next) ? keyed.get(keyOf(next)) : at && !keyOf(at) && at.nodeName === next.nodeName ? at : null;
    if (!same) { parent.insertBefore(next, at); continue; }
    if (same === at) at = at.nextSibling; else parent.insertBefore(same, at);
    morph(same, next);
  }
  while (at) { const after = at.nextSibling; at.remove(); at = after; }
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
  const boxes = wanted.map(drawApp);
  if (boxes.length === 0) boxes.push(element("p", { className: "quiet", textContent: all.apps.length ? "Nothing matches." : "No apps yet: rpm start app.js" }));
  morphChildren($("apps"), boxes);
  $("host").textContent = `load ${all.host.load[0].toFixed(2)} of ${all.host.cpus} · memory ${bytes(all.host.memory_total - all.host.memory_available)} of ${bytes(all.host.memory_total)} · v${all.daemon.version}`;
}

function keyed(key, made) {
  made.dataset.key = key;
  return made;
}

function drawApp(app) {
  const up = app.workers.filter((one) => one.status === "online").length;
  const state = up === app.workers.length ? "good" : up > 0 ? "wait" : kindOf(app.workers[0]?.shown);
  const name = button(app.name, "choose", app.id);
  name.className = "name";
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
  if (app.canaries.length) head.append(element("span", { className: "wait", textContent: `${app.canaries.length} of ${app.workers.length} run the new release: promote or abort` }));
  if (app.autoscale) head.append(element("span", { className: "quiet", textContent: `autoscale ${app.autoscale.on ? `${app.autoscale.min}–${app.autoscale.max}` : "off"}`, title: app.autoscale.standing }));
  const verbs = app.canaries.length ? ["promote", "abort"] : app.is_job ? ["run", "stop"] : ["reload", "restart", isDown(app) ? "start" : "stop", "scale"];
  const buttons = verbs.map((verb) => {
    const made = button(verb, verb, app.id);
    made.disabled = verb === "scale" && app.kind !== "app";
    return made;
  });
  head.append(element("span", { className: "buttons acts" }, ...buttons));
  const rows = app.workers.map((one) => keyed(`worker ${one.id}`, element("tr", {},
    element("td", { textContent: `${app.name}:${one.instance}` }),
    element("td", { className: kindOf(one.shown), textContent: one.shown, title: one.why || "" }),
    element("td", { textContent: one.pid && one.started_at_ms ? since(one.started_at_ms) : "–" }),
    element("td", { textContent: `${one.cpu.toFixed(1)} %` }),
    element("td", { textContent: bytes(one.memory) }),
    element("td", { textContent: one.restarts }),
    element("td", { className: "wide", textContent: one.pid ?? "–" }),
    element("td", { className: "wide quiet", textContent: one.why || one.cause || "" }))));
  const titles = ["worker", "status", "for", "cpu", "memory", "restarts", "pid", "why"];
  const heads = titles.map((title, at) => element("th", { textContent: title, className: at > 5 ? "wide" : "" }));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
  const box = element("article", { className: "app" }, head, table);
  box.dataset.app = app.name;
  box.dataset.key = `app ${app.id}`;
  return box;
}

const isDown = (app) => app.workers.every((one) => ["stopped", "errored"].includes(one.status));

// A button says what it does in its attributes: one listener serves all, those that are yet to be drawn too.
function button(text, verb, app, worker) {
  const made = element("button", { textContent: text });
  Object.assign(made.dataset, { key: `${app} ${worker ?? ""} ${verb}`, do: verb, id: app });
  if (worker !== undefined) made.dataset.worker = worker;
  return made;
}

function ask(text, more) {
  $("ask-text").textContent = text;
  $("ask-more").hidden = more === undefined;
  if (more !== undefined) {
    $("ask-what").textContent = more[0];
    $("ask-value").value = more[1];
  }
  $("ask").returnValue = "no";
  $("ask").showModal();
  return new Promise((done) => {
    $("ask").onclose = () => done($("ask").returnValue === "yes");
  });
}

// What each verb asks first: a sentence, perhaps what is to be typed; and what is sent.
const DEEDS = {
  run: [(it) => `Run ${it.name} now?`],
  start: [(it) => `Start ${it.name}?`],
  reload: [(it) => `Reload ${it.name}? ${it.workers} will be replaced one after another; no request is lost where the port is shared.`],
  restart: [(it) => `Restart ${it.name}? ${it.workers} will be stopped and started.`],
  stop: [(it) => `Stop ${it.name}? ${it.workers} will no longer serve.`],
  delete: [(it) => `Delete ${it.name}? ${it.workers} will be stopped and forgotten.`],
  reset: [(it) => `Set the restart counters of ${it.name} to zero?`],
  flush: [(it) => `Empty the logs of ${it.name}? What is in them is lost.`],
  promote: [(it) => `Promote ${it.name}? The workers of the old release will be replaced, too.`],
  abort: [(it) => `Abort the new release of ${it.name}? The old one is put back.`],
  scale: [(it) => `Scale ${it.name} to how many workers?`, (app) => ["Workers", app.workers.length], (value) => ({ instances: Number(value) })],
  signal: [(it) => `Send which signal to ${it.name}?`, () => ["Signal", "USR2"], (value) => ({ signal: value.trim().toUpperCase() })],
  rollback: [(it) => `Roll ${it.name} back to an earlier release?`, () => ["Releases back", 1], (value) => ({ back: Number(value) })],
  "autoscale on": [(it) => `Let the load decide on the number of workers of ${it.name}?`, null, () => ({ on: true })],
  "autoscale off": [(it) => `Keep the number of workers of ${it.name} as it is?`, null, () => ({ on: false })],
};

async function act(verb, id, worker) {
  const app = all.apps.find((one) => one.id === id);
  if (!app) return;
  const count = app.workers.length;
  const one = app.workers.find((one) => one.id === worker);
  const name = one ? `${app.name}:${one.instance}` : app.name;
  const [sentence, more, body] = DEEDS[verb];
  if (!await ask(sentence({ name, workers: one ? "It" : count === 1 ? "Its worker" : `All ${count} workers` }), more?.(app))) return;
  const place = one ? `workers/${worker}` : `apps/${id}`;
  await send(`${verb} ${name}`, `/api/v1/${place}/${verb.split(" ")[0]}`, body ? body($("ask-value").value) : {});
}

async function send(what, path, body) {
  try {
    say(`${what} …`);
    const { note } = await call(path, body);
    say(note ? `${what}: done; ${note}` : `${what}: done`);
    drawFacts();
  } catch (error) {
    say(`${what}: ${error.message}`);
  }
}

document.addEventListener("click", async (event) => {
  const pressed = event.target.closest?.("button[data-do]");
  if (!pressed) return;
  const { do: verb, id, worker } = pressed.dataset;
  if (verb === "choose") choose(Number(id));
  else if (verb === "save") { if (await ask("Save the list of apps, so that they are there again after a reboot?")) send("save", "/api/v1/save", {}); }
  else act(verb, Number(id), worker === undefined ? undefined : Number(worker));
});

// --- details ---

function choose(id) {
  const app = all.apps.find((one) => one.id === id);
  if (!app) return;
  chosen = id;
  $("detail").hidden = false;
  $("detail-name").textContent = app.name;
  $("log").replaceChildren();
  $("facts").replaceChildren();
  $("crashes").open = false;
  closeDetail.streams();
  followLog();
  drawFacts();
  drawCharts();
  detailTimer = setInterval(() => { drawFacts(); drawCharts(); }, 10000);
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
  clearInterval(detailTimer);
};

function followLog() {
  const id = chosen;
  call(`/api/v1/apps/${id}/logs?last=100`).then(({ lines }) => {
    if (chosen !== id) return;
    $("log").replaceChildren();
    lines.forEach(addLine);
    logStream = new EventSource(`/api/v1/apps/${id}/logs/stream`);
    // Opened again it may have missed some.
    let opened = 0;
    logStream.onopen = () => { opened += 1; if (opened > 1) { logStream.close(); followLog(); } };
    logStream.addEventListener("line", (event) => addLine(JSON.parse(event.data)));
  }, (error) => say(error.message));
}

async function drawFacts() {
  const id = chosen;
  if (id === null) return;
  const [app, why] = await Promise.all([call(`/api/v1/apps/${id}`), call(`/api/v1/apps/${id}/why`)]).catch(() => []);
  if (chosen !== id || !why) return;
  const buttons = (verbs, worker) => element("span", { className: "buttons acts" }, ...verbs.map((verb) => button(verb, verb, id, worker)));
  const ofApp = [...(app.is_job ? ["run"] : []), isDown(app) ? "start" : "stop", "restart", "reload", "rollback", "reset", "flush", "signal", "delete"];
  if (app.canaries.length) ofApp.push("promote", "abort");
  if (app.autoscale) ofApp.push(app.autoscale.on ? "autoscale off" : "autoscale on");
  const rows = [element("div", { className: "row" }, element("span", { textContent: app.autoscale ? `autoscale ${app.autoscale.min}–${app.autoscale.max}: ${app.autoscale.standing}` : "" }), buttons(ofApp))];
  for (const one of app.workers) {
    const told = why.workers.find((other) => other.id === one.id)?.sentence ?? one.shown;
    const health = one.health ? ` · health: ${one.health}${one.check ? ` (${one.check.text})` : ""}` : "";
    const ended = one.last_exit && !told.includes(one.last_exit) ? ` · last exit: ${one.last_exit}, ${since(one.last_exit_at_ms)} ago` : "";
    const release = app.canaries.includes(one.id) ? " · new release" : "";
    const row = element("div", { className: "row" }, element("span", { className: one.health === "unhealthy" ? "bad" : "", textContent: told + health + ended + release }));
    if (app.workers.length > 1) row.append(buttons([["stopped", "errored"].includes(one.status) ? "start" : "stop", "restart", "signal"], one.id));
    rows.push(keyed(`fact ${one.id}`, row));
  }
  morphChildren($("facts"), rows);
  if ($("crashes").open) drawCrashes();
}

async function drawCrashes() {
  const id = chosen;
  const { crashes } = await call(`/api/v1/apps/${id}/crashes?last=20`).catch(() => ({ crashes: null }));
  if (chosen !== id || !crashes) return;
  const parts = crashes.reverse().flatMap((one) => {
    const key = `${one.at_ms} ${one.worker}`;
    const asked = one.asked ? `, ${one.asked.cause}${one.asked.by ? ` by ${one.asked.by}` : ""}` : "";
    const head = `${new Date(one.at_ms).toLocaleString()} · worker ${one.worker} (pid ${one.pid}) · ${one.text} after ${(one.uptime_ms / 1000).toFixed(1)} s${asked} · memory ${bytes(one.memory)}`;
    const core = one.core_text ? ` · core dump: ${one.core_text}` : "";
    const said = [...(one.out ?? []).slice(-10), ...(one.err ?? []).slice(-20)].join("\n");
    return [keyed(`${key} head`, element("div", { textContent: head + core })), keyed(`${key} said`, element("pre", { textContent: said }))];
  });
  if (parts.length === 0) parts.push(element("p", { className: "quiet", textContent: "None is on record." }));
  morphChildren($("crash-list"), parts);
}

function addLine({ stream: name, worker, text }) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
  const several = all.apps.find((app) => app.id === chosen)?.workers.length > 1;
  const who = several && worker !== null ? [element("span", { className: "who", textContent: `${worker} ` })] : [];
  log.append(element("span", { className: name }, ...who, `${text}\n`));
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

function addEvent(happened) {
  const { at_ms: at, app, worker, event, detail, by } = happened;
  const who = app ? `${app}${worker === undefined ? "" : ` [${worker}]`}` : "";
  const text = [who, event, detail, by && `by ${by}`].filter(Boolean).join(" · ");
  const kind = /exit|errored|unhealthy/.test(event) ? "bad" : event === "online" ? "good" : "";
  const time = element("time", { textContent: new Date(at).toLocaleTimeString() });
  const line = element("li", {}, time, element("span", { className: kind, textContent: text }));
  line.dataset.same = JSON.stringify(happened);
  $("events").prepend(line);
  while ($("events").childElementCount > EVENTS) $("events").lastElementChild.remove();
}

// What happened while nobody listened, and what has come meanwhile besides.
async function catchUp() {
  const { events } = await call("/api/v1/events?last=100");
  const known = new Set(events.map((event) => JSON.stringify(event)));
  const last = events.at(-1)?.at_ms ?? 0;
  const newer = [...$("events").children].map((line) => line.dataset.same).reverse();
  $("events").replaceChildren();
  events.forEach(addEvent);
  newer.filter((same) => !known.has(same) && JSON.parse(same).at_ms >= last).forEach((same) => addEvent(JSON.parse(same)));
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
  heard = Date.now();
  document.body.classList.toggle("read-only", session.read_only);
  $("login").hidden = true;
  $("main").hidden = false;
  drawApps();
  listen();
  if (chosen !== null) { closeDetail.streams(); choose(chosen); }
}

function listen() {
  stream?.close();
  stream = new EventSource("/api/v1/stream");
  // Each time it opens, what was missed is asked for.
  stream.onopen = () => catchUp().catch((error) => say(error.message));
  stream.onerror = () => {
    // A browser tries again where the connection was lost, and gives up where it was refused: then nobody is logged in any more.
    if (stream?.readyState === EventSource.CLOSED) again();
  };
  stream.addEventListener("apps", (event) => { heard = Date.now(); all = JSON.parse(event.data); drawApps(); tellSilence(); });
  stream.addEventListener("happened", (event) => addEvent(JSON.parse(event.data)));
  stream.addEventListener("lagged", () => catchUp().catch((error) => say(error.message)));
}

// Comes in again, or shows the login; where nobody answers it goes on trying.
function again() {
  clearTimeout(again.timer);
  enter().catch(() => { if ($("login").hidden) again.timer = setTimeout(again, 2000); });
}

function tellSilence() {
  const seconds = Math.floor((Date.now() - heard) / 1000);
  const lost = stream && stream.readyState !== EventSource.OPEN;
  const text = lost ? "connection lost, trying again …" : seconds >= SILENCE ? "the daemon does not answer" : "";
  $("link").textContent = text && `${text} (as of ${seconds} s ago)`;
  $("apps").classList.toggle("old", text !== "");
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
// Enter in a form means its first button, and that is the careful one.
$("ask-value").onkeydown = (event) => { if (event.key === "Enter") { event.preventDefault(); $("ask").close("yes"); } };
$("crashes").ontoggle = () => { if ($("crashes").open) drawCrashes(); };
setInterval(() => { if (!$("main").hidden) tellSilence(); }, 1000);
$("detail-close").onclick = closeDetail;
$("only-err").onchange = () => $("log").classList.toggle("only-err", $("only-err").checked);
enter().catch(showLogin);
