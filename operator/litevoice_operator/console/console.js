"use strict";
// Shows what /v1/console streams. Everything from outside becomes text nodes only: the page's policy (Trusted Types)
// refuses any other way. A token stays in memory; a key of `litevoice console` also in sessionStorage, for a reload.

const TOKEN_HEADER = "Litevoice-Token";
const SILENT_MS = 15000; // nothing came for so long: the stream is dead
const MOST_PAUSE_MS = 10000;
const KEPT = "litevoice-key";
const $ = (id) => document.getElementById(id);
const scope = new URLSearchParams(location.search);
const stored = (use) => { try { return use(); } catch { return null; } }; // a browser may be told to keep nothing
let token = stored(() => sessionStorage.getItem(KEPT)) ?? "";
let following = null; // AbortController of the stream
let shown = null; // the latest state
let paused = false;
let before = null; // what was last announced

// ---- Words

const seconds = (value) =>
  value < 10 ? `${value.toFixed(1)} s` : value < 120 ? `${Math.round(value)} s`
    : value < 7200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
const clock = (unix) => new Date(unix * 1000).toLocaleTimeString();
function moment(text) { // with the day, unless it is today
  const at = new Date(text);
  return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString();
}
const known = (number) => (number < 0 ? "?" : String(number));
const where = (row) => `${row.namespace}/${row.gateway}`;
const tone = (text, name) => ({ text, tone: name });
const number = (text, name = "") => ({ text: String(text), tone: name, number: true });
const sessionButton = (row, id) => ({ text: id, session: { id, namespace: row.namespace, gateway: row.gateway } });

const POD_TONES = { "ready": "good", "not-ready": "bad", "silent": "bad", "draining": "warn", "drained": "warn", "ending": "warn" };
const SEVERITY_TONES = { critical: "bad", warning: "warn", info: "" };

// ---- Tables: title, columns, what is said when there is nothing, and the rows of a state

const TABLES = [
  {
    id: "alerts", title: "Alerts", none: "There is no BacklogAlert here.",
    columns: ["Alert", "State", "Target", "VoiceGateway", "Since", "#Messages", "#Oldest", "#Sessions", "Worst session", "Pod", "Node", "Client", "About"],
    rows: (state) => state.alerts.map((alert) => {
      const worst = alert.top[0] ?? {};
      const fires = alert.state === "Firing";
      return [`${alert.namespace}/${alert.name}`, [
        `${alert.namespace}/${alert.name}`,
        tone(fires ? `Firing: ${alert.severity}` : alert.state, fires ? SEVERITY_TONES[alert.severity] : alert.state === "Pending" ? "warn" : "good"),
        alert.target, alert.gateway, alert.since ? moment(alert.since) : "",
        number(alert.messages), number(seconds(alert.age_seconds)), number(alert.sessions),
        worst.session_id ? sessionButton(alert, worst.session_id) : worst.partition >= 0 ? `partition ${worst.partition}` : "",
        worst.pod ?? "", worst.node ?? "", worst.client ?? "", { text: alert.about, tone: "bad", wide: true },
      ]];
    }),
  },
  {
    id: "fleet", title: "Fleet", none: "There are no pods.",
    columns: ["Pod", "Kind", "VoiceGateway", "Node", "State", "#Sessions", "#In a turn", "#Slow readers", "#Requests", "#CPU", "About"],
    rows: (state) => state.pods.map((pod) => [`${pod.namespace}/${pod.pod}`, [
      pod.pod, pod.component, where(pod), pod.node, tone(pod.state, POD_TONES[pod.state]),
      { ...number(pod.max_sessions > 0 ? `${known(pod.sessions)} of ${pod.max_sessions}` : known(pod.sessions)),
        meter: pod.max_sessions > 0 ? [pod.sessions, pod.max_sessions] : null },
      ...(pod.component === "gateway"
        ? [number(pod.in_turn), number(pod.slow_readers, pod.slow_readers ? "warn" : ""), number(pod.pending_requests), ""]
        : ["", "", "", number(`${Math.round(pod.busy * 100)} %`, pod.busy > 0.9 ? "warn" : "")]),
      { text: pod.about, tone: "warn", wide: true },
    ]]),
  },
  {
    id: "drains", title: "Drains", none: "No gateway is draining, and none has ended since the operator looks.",
    columns: ["Pod", "VoiceGateway", "State", "#Left", "#Moved", "#Completed", "#Forced", "#Lost packets", "#Took", "Finished"],
    rows: (state) => state.drains.map((drain) => [`${where(drain)}/${drain.pod}/${drain.finished_at}`, [
      drain.pod, where(drain), tone(drain.state, drain.finished_at ? "" : "warn"),
      { ...number(drain.sessions), meter: drain.finished_at ? null : [drain.sessions, drain.sessions + drain.moved + drain.completed + drain.forced] },
      number(drain.moved), number(drain.completed), number(drain.forced, drain.forced ? "warn" : ""),
      number(drain.lost_packets, drain.lost_packets ? "bad" : ""), number(seconds(drain.seconds)),
      drain.finished_at ? moment(drain.finished_at) : "",
    ]]),
  },
  ...[["stalled", "Stalled turns", "No turn has stalled."], ["backlog", "Top backlog", "No session has requests that wait."]].map(([id, title, none]) => ({
    id, title, none,
    columns: ["Session", "VoiceGateway", "Owner", "Node", "Client", "Principal", "Stage", "#Stalled", "#Backlog", "#Oldest", "#Partition", "#Age"],
    rows: (state) => state[id].map((row) => [`${where(row)}/${row.pod}/${row.session.session_id}`, [
      sessionButton(row, row.session.session_id), where(row), row.pod, row.node, row.session.client, row.session.principal,
      tone(row.session.reading ? row.session.stage : "not reading", row.session.reading ? "" : "warn"),
      number(seconds(row.session.stalled_seconds), row.session.stalled_seconds >= 10 ? "bad" : ""),
      number(row.session.pending_requests), number(seconds(row.session.oldest_request_seconds)),
      number(known(row.session.partition)), number(seconds(row.session.age_seconds)),
    ]]),
  })),
  {
    id: "partitions", title: "Partitions", none: "No partition is known.",
    columns: ["#Partition", "VoiceGateway", "Worker", "Node", "#Backlog", "#Oldest"],
    rows: (state) => state.partitions.map((row) => [`${where(row)}/${row.partition}`, [
      number(row.partition), where(row), tone(row.workers.join(", ") || "NOBODY", row.workers.length === 1 ? "" : "bad"),
      row.node, number(known(row.backlog)), number(row.backlog > 0 ? seconds(row.age_seconds) : "", row.age_seconds >= 5 ? "warn" : ""),
    ]]),
  },
];

function make(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function build(table) {
  const section = make("section", "", { "aria-labelledby": `${table.id}-title` });
  const frame = make("div", "", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": `${table.id}-title` });
  const grid = make("table", "", { id: table.id, "aria-labelledby": `${table.id}-title` });
  const names = make("tr");
  for (const column of table.columns) {
    const isNumber = column.startsWith("#");
    names.append(make("th", isNumber ? column.slice(1) : column, { scope: "col", class: isNumber ? "number" : "" }));
  }
  const head = make("thead");
  head.append(names);
  grid.append(head, make("tbody"));
  frame.append(grid);
  section.append(make("h2", table.title, { id: `${table.id}-title` }), make("p", table.none, { class: "none" }), frame);
  $("main").append(section);
}

function fillCell(cell, value) {
  const content = typeof value === "string" ? { text: value } : value;
  const key = JSON.stringify(content);
  if (cell.dataset.value === key) return;
  cell.dataset.value = key;
  cell.className = [content.tone, content.number ? "number" : "", content.wide ? "wide" : ""].filter(Boolean).join(" ");
  if (content.session) {
    const button = make("button", content.text, { type: "button", class: "session", title: "Why?" });
    button.addEventListener("click", () => why(content.session));
    cell.replaceChildren(button);
  } else if (content.meter) {
    const [value, most] = content.meter;
    cell.replaceChildren(content.text, make("meter", "", { min: "0", max: String(Math.max(1, most)), value: String(Math.max(0, value)), "aria-hidden": "true" }));
  } else {
    cell.textContent = content.text;
  }
}

// Rows keep their place in the document while they are there, so that a focus or a selection stays.
function fill(table, state) {
  const body = $(table.id).tBodies[0];
  const rows = table.rows(state);
  const old = new Map([...body.rows].map((line) => [line.dataset.key, line]));
  const focused = document.activeElement;
  rows.forEach(([key, cells], index) => {
    let line = old.get(key);
    old.delete(key);
    if (!line) {
      line = make("tr");
      line.dataset.key = key;
      for (const _ of cells) line.append(make("td"));
    }
    cells.forEach((value, column) => fillCell(line.cells[column], value));
    if (body.rows[index] !== line) body.insertBefore(line, body.rows[index] ?? null);
  });
  const frame = body.closest(".scroll");
  const lost = [...old.values()].some((line) => line.contains(focused));
  for (const line of old.values()) line.remove();
  if (lost) frame.focus();
  else if (focused !== document.activeElement && document.contains(focused)) focused.focus({ preventScroll: true });
  frame.hidden = !rows.length;
  frame.previousElementSibling.hidden = rows.length > 0;
}

function list(id, entries) {
  $(id).replaceChildren(...entries);
}

function show(state) {
  shown = state;
  if (paused) return;
  for (const table of TABLES) fill(table, state);
  const gateways = state.pods.filter((pod) => pod.component === "gateway");
  const firing = state.alerts.filter((alert) => alert.state === "Firing").length;
  const drains = state.drains.filter((drain) => !drain.finished_at).length;
  const stalled = state.stalled.length;
  list("summary", [["sessions", state.sessions], ["gateways", gateways.length],
    ["workers", state.pods.length - gateways.length], ["alerts fire", firing, firing ? "bad" : ""],
    ["drains", drains, drains ? "warn" : ""], ["turns stalled", stalled < 15 ? stalled : "15 or more", stalled ? "warn" : ""],
  ].map(([name, value, colour = ""]) => {
    const entry = make("li");
    entry.append(make("b", String(value), { class: colour }), name);
    return entry;
  }));
  const more = state.left_out ? [`${state.left_out} more pods are not listed`] : [];
  list("unseen", [...state.unseen, ...more].map((text) => make("li", text)));
  $("main").hidden = false;
  announce(state);
}

// ---- What a screen reader is told: what begins and what ends, not every number

function announce(state) {
  const now = new Map(); // what it is about → while it is so, and when it is so no longer
  for (const alert of state.alerts) {
    const name = `alert ${alert.namespace}/${alert.name}`;
    if (alert.state === "Firing") now.set(name, [`${name} fires, ${alert.severity}`, `${name} is over`]);
  }
  for (const drain of state.drains) if (!drain.finished_at) now.set(`${where(drain)}/${drain.pod}`, [`${drain.pod} drains`, `${drain.pod} no longer drains`]);
  for (const row of state.partitions) {
    const name = `partition ${row.partition} of ${where(row)}`;
    if (!row.workers.length) now.set(name, [`${name} has no worker`, `${name} has a worker`]);
  }
  const told = [...now].filter(([about, [text]]) => before?.get(about)?.[0] !== text).map(([, [text]]) => text);
  for (const [about, [, end]] of before ?? []) if (!now.has(about)) told.push(end);
  if (told.length) $("news").textContent = told.slice(0, 5).join("; ");
  before = now;
}

function live(text, name) {
  if ($("live").textContent !== text) $("live").textContent = text;
  $("live").className = name;
  $("at").textContent = "";
  $("main").classList.toggle("old", name === "bad");
}

// ---- The stream

class Refused extends Error {}

function query() {
  const asked = new URLSearchParams();
  for (const name of ["namespace", "gateway"]) if (scope.get(name)) asked.set(name, scope.get(name));
  return asked;
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: token ? { [TOKEN_HEADER]: token } : {}, cache: "no-store" });
  if (answer.ok) return answer;
  const said = await answer.json().then((body) => body.error.message, () => `HTTP ${answer.status}`);
  throw answer.status === 401 || answer.status === 403 ? new Refused(said) : new Error(said);
}

function take(event) {
  const lines = event.split("\n");
  const data = JSON.parse(lines.find((line) => line.startsWith("data: ")).slice(6));
  if (lines.includes("event: end")) throw new Error(data.message);
  show(data);
  if (paused) return;
  live("live", "good");
  $("at").textContent = clock(data.at); // apart: a screen reader is not to hear it every two seconds
}

async function followOnce(aborted) {
  const ended = new AbortController();
  const end = () => ended.abort();
  aborted.addEventListener("abort", end);
  let watchdog = setTimeout(end, SILENT_MS);
  try {
    const answer = await ask(`v1/console?${query()}`, { signal: ended.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Error("the operator has closed the stream");
      clearTimeout(watchdog);
      watchdog = setTimeout(end, SILENT_MS);
      const events = (text + value).split("\n\n");
      text = events.pop();
      events.forEach(take);
    }
  } finally {
    clearTimeout(watchdog);
    aborted.removeEventListener("abort", end);
    ended.abort();
  }
}

async function follow() {
  following?.abort();
  following = new AbortController();
  const { signal } = following;
  let pause = 500;
  while (!signal.aborted) {
    const began = Date.now();
    try {
      await followOnce(signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused) return login(token ? error.message : "");
      live(`not live${shown ? `, shows ${clock(shown.at)}` : ""}: ${error.name === "AbortError" ? "the operator is silent" : error.message}`, "bad");
    }
    pause = Date.now() - began > MOST_PAUSE_MS ? 500 : Math.min(2 * pause, MOST_PAUSE_MS);
    await new Promise((done) => setTimeout(done, pause));
  }
}

function login(message) {
  stored(() => sessionStorage.removeItem(KEPT));
  live("not logged in", "bad");
  $("refused").textContent = message;
  $("namespace").value = scope.get("namespace") ?? "";
  $("login").hidden = false;
  $("token").focus();
}

// ---- One session

async function why(session) {
  const asked = new URLSearchParams({ namespace: session.namespace, gateway: session.gateway });
  $("why-title").textContent = session.id;
  $("verdict").textContent = "asking gateway, broker and worker …";
  list("facts", []);
  list("todo", []);
  if (!$("why").open) $("why").showModal();
  $("why-title").focus();
  try {
    const report = await (await ask(`v1/sessions/${encodeURIComponent(session.id)}?${asked}`)).json();
    if ($("why-title").textContent !== session.id) return;
    const { verdict, session: info, worker_session: atWorker } = report;
    $("verdict").textContent = `${verdict.cause.toUpperCase()}: ${verdict.says}`;
    const facts = [
      ["VoiceGateway", where(report)],
      ["owner", report.pod ? `${report.pod} on ${report.node || "?"}` : `${report.owner}${report.subscriber ? `, at the broker ${report.subscriber}` : ""}`],
      ...(info ? [["client", `${info.client} (${info.principal}), for ${seconds(info.age_seconds)}`],
        ["stage", `${info.stage}${info.stalled_seconds >= 1 ? `, no progress for ${seconds(info.stalled_seconds)}` : ""}`]] : []),
      ["partition", `${report.partition}, held by ${report.holders.join(", ") || "nobody"}`],
      ["worker", `${report.worker || "not known"}${report.worker_node ? ` on ${report.worker_node}` : ""}${report.worker_answers === false ? ", DOES NOT ANSWER" : ""}`],
      ...(atWorker ? [["worker's stage", `${atWorker.stage} for ${seconds(atWorker.stage_seconds)}, turn ${atWorker.turn}`]] : []),
      ...(report.broker_error ? [["broker", `does not answer: ${report.broker_error}`]] : []),
      ...report.events.map((text) => ["event", text]),
    ];
    list("facts", facts.flatMap(([name, text]) => [make("dt", name), make("dd", text)]));
    list("todo", verdict.todo.map((text) => make("li", text)));
  } catch (error) {
    $("verdict").textContent = error.message;
  }
}

// ---- Start

function theme(wanted) {
  const isDark = (wanted ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  if (wanted) document.documentElement.dataset.theme = wanted;
  $("theme").textContent = isDark ? "Light" : "Dark";
}

$("theme").addEventListener("click", () => {
  const wanted = $("theme").textContent.toLowerCase();
  stored(() => localStorage.setItem("litevoice-theme", wanted));
  theme(wanted);
});
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  if (paused) live(`paused${shown ? `, shows ${clock(shown.at)}` : ""}`, "");
  else if (shown) show(shown);
});
$("close").addEventListener("click", () => $("why").close());
$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  $("token").value = "";
  scope.set("namespace", $("namespace").value.trim());
  $("login").hidden = true;
  start();
});

function start() {
  $("scope").textContent = [scope.get("namespace") || "all namespaces", scope.get("gateway")].filter(Boolean).join("/");
  follow();
}

// `litevoice console` hands over a code that is good once, in the fragment, which no server sees.
async function enter() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code) {
    history.replaceState(null, "", location.pathname + location.search);
    const answer = await fetch("key", { method: "POST", body: code }).catch(() => null);
    if (!answer?.ok) return login("This address was used before: run litevoice console again.");
    token = await answer.text();
    stored(() => sessionStorage.setItem(KEPT, token));
  }
  start();
}

const chosen = () => stored(() => localStorage.getItem("litevoice-theme"));
theme(chosen());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(chosen()));
for (const table of TABLES) build(table);
enter();
