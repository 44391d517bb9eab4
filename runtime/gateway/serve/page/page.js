"use strict";
// Asks for /status.json once a second and shows it. Whatever comes from outside is set as text.

const EVERY_MS = 1000;
const TIMEOUT_MS = 5000;
const RATE_MS = 10000; // the window of "per second"
const STATES = {
  running: "good", ended: "good", connecting: "fair", retrying: "bad", stalled: "bad",
  failed: "bad", stopped: "fair", ready: "good", overloaded: "fair",
  delivering: "good", failing: "bad",
};
const pictures = new Map(); // key -> promise of a blob's URL
const shown = new Map(); // element id -> what it shows, so that nothing flickers
let samples = []; // [milliseconds, images answered]
let lastSeen = null;

const element = (id) => document.getElementById(id);
const token = () => sessionStorage.getItem("token");

function make(tag, { text, kind, title, ...properties } = {}, ...children) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  if (title) node.title = title;
  Object.assign(node, properties);
  node.append(...children);
  return node;
}

function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  return fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-cache", ...options, headers });
}

function fill(id, value, nodes) {
  const text = JSON.stringify(value);
  if (shown.get(id) === text) return;
  shown.set(id, text);
  element(id).replaceChildren(...nodes());
}

// ---- words for numbers --------------------------------------------------------------------------
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const percent = (share) => `${(100 * share).toFixed(1)} %`;

function age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

function milliseconds(nanoseconds) {
  const value = nanoseconds / 1e6;
  return `${value < 10 ? value.toFixed(2) : Math.round(value)} ms`;
}

const clock = (time) => new Date(time).toLocaleTimeString([], { hour12: false });

// ---- parts --------------------------------------------------------------------------------------
function state(word, reason) {
  const kind = `pill ${STATES[word] ?? "fair"}`;
  const cell = make("td", {}, make("span", { text: word, kind }));
  if (reason) cell.append(make("span", { text: reason, kind: "quiet" }));
  return cell;
}

const number = (label, text) => {
  const cell = make("td", { text, kind: "number" });
  cell.dataset.label = label;
  return cell;
};

const nothing = (columns, text) =>
  [make("tr", {}, make("td", { text, kind: "empty", colSpan: columns }))];

function cameraRow(camera, pipeline) {
  const size = camera.width ? `${camera.width} × ${camera.height} px · ` : "";
  const skipped = camera.skipped ? ` (${percent(camera.skipped / camera.frames)})` : "";
  const damaged = camera.corrupt + camera.withheld + camera.decode_errors;
  return make("tr", {},
    make("td", {}, make("strong", { text: camera.name }),
      make("span", { text: size + (camera.url ?? ""), kind: "quiet" })),
    state(camera.state, camera.reason),
    number("Frames/s", camera.fps.toFixed(1)),
    number("Last frame", age(camera.age_s)),
    number("Skipped", whole.format(camera.skipped) + skipped),
    number("Damaged", whole.format(damaged)),
    number("Reconnects", whole.format(camera.reconnects)),
    number("Read", pipeline ? whole.format(pipeline.reads) : "–"),
    number("Events", pipeline ? whole.format(pipeline.events) : "–"));
}

function showCameras(cameras, pipelines) {
  const byCamera = new Map(pipelines.map((pipeline) => [pipeline.camera, pipeline]));
  const down = cameras.filter((camera) => STATES[camera.state] !== "good").length;
  element("cameras-count").textContent = down ? `${down} of ${cameras.length} down` : "";
  element("cameras").tBodies[0].replaceChildren(...(cameras.length
    ? cameras.map((camera) => cameraRow(camera, byCamera.get(camera.name))) : nothing(8, "No camera is configured.")));
  return down;
}

function sinkRow(sink) {
  const since = sink.failing_since;
  return make("tr", {},
    make("td", {}, make("strong", { text: sink.name })),
    since === null ? state("delivering", sink.last_error && `failed last: ${sink.last_error}`)
      : state("failing", `since ${clock(since)}: ${sink.last_error ?? "no reason given"}`),
    number("Waiting", whole.format(sink.waiting)),
    number("Delivered", whole.format(sink.delivered)),
    number("Dropped", whole.format(sink.dropped)),
    number("Rejected", whole.format(sink.rejected)));
}

function showSinks(sinks) {
  fill("sinks", sinks, () => [
    element("sinks").tHead,
    make("tbody", {}, ...(sinks.length
      ? sinks.map(sinkRow) : nothing(6, "No sink is configured: events are not kept."))),
  ]);
  return sinks.filter((sink) => sink.failing_since !== null).length;
}

function picture(read) {
  const place = make("div", { text: "no picture", kind: "picture nothing" });
  if (!read.picture) return place;
  if (!pictures.has(read.picture)) {
    pictures.set(read.picture, ask(`status/pictures/${read.picture}`, { cache: "default" })
      .then((answer) => (answer.ok ? answer.blob() : Promise.reject(answer.status)))
      .then((blob) => URL.createObjectURL(blob)));
  }
  pictures.get(read.picture).then((src) => {
    place.replaceWith(make("img", { src, kind: "picture", alt: "the picture that was read" }));
  }, () => pictures.delete(read.picture));
  return place;
}

function latestCard(read, now) {
  const bar = make("div");
  bar.style.width = `${100 * read.confidence}%`;
  const heads = Object.entries(read.heads).map(([name, label]) => `${name}: ${label}`).join(" · ");
  const card = make("li", { kind: read.accepted ? "accepted" : "" },
    picture(read),
    make("div", { kind: "words" },
      make("div", { text: read.text || heads || "–", kind: "text" }),
      make("div", { kind: "bar", title: "How sure the answer is" }, bar),
      make("div", { kind: "verdict" },
        make("span", { text: read.accepted ? "accepted" : "not sure enough" }),
        make("span", { text: percent(read.confidence) })),
      make("div", { text: read.text ? heads : "", kind: "quiet" }),
      make("div", {
        text: `${read.camera} · ${clock(read.time)} · ${Math.round(read.latency_ms)} ms`,
        kind: "quiet",
        title: "Camera, time, and how long it took from the frame to the event",
      })));
  return card;
}

function showLatest(reads) {
  fill("latest", reads, () => (reads.length ? reads.map(latestCard)
    : [make("li", { text: "Nothing has been read yet.", kind: "empty" })]));
  const kept = new Set(reads.map((read) => read.picture));
  for (const [key, url] of pictures) {
    if (kept.has(key)) continue;
    pictures.delete(key);
    url.then(URL.revokeObjectURL, () => {});
  }
}

function list(id, entries) {
  const given = entries.filter(([, text]) => text !== undefined && text !== "");
  fill(id, given, () => given.flatMap(([name, text]) =>
    [make("dt", { text: name }), make("dd", { text })]));
}

function perSecond(answered) {
  const now = performance.now();
  if (samples.length && answered < samples.at(-1)[1]) samples = []; // another process
  samples.push([now, answered]);
  while (samples.length > 2 && now - samples[0][0] > RATE_MS) samples.shift();
  const [then, before] = samples[0];
  return samples.length < 2 ? "–" : ((1000 * (answered - before)) / (now - then)).toFixed(1);
}

function showReader(status) {
  const stats = status.stats;
  const failed = stats.engine_failures + stats.bad_images;
  list("reader", [
    ["Images read", `${whole.format(stats.answered)} (${perSecond(stats.answered)} per second)`],
    ["Accepted", stats.answered ? percent(stats.accepted / stats.answered) : "–"],
    ["Time per image", `${milliseconds(stats.latency.p50_ns)} (p50), ${milliseconds(stats.latency.p99_ns)} (p99)`],
    ["Engine call", `${milliseconds(stats.engine.p50_ns)} (p50), ${milliseconds(stats.engine.p99_ns)} (p99)`],
    ["Waiting", `${whole.format(stats.waiting)} now, ${whole.format(stats.deepest)} at most`],
    ["Dropped or too late", whole.format(stats.dropped + stats.expired)],
    ["Failed", whole.format(failed)],
  ]);
  list("artifact", [
    ["Artifact", status.artifact.id],
    ["Version", String(status.artifact.version)],
    ["Schema", `${status.artifact.schema}, input ${status.artifact.input}`],
    ["Exported as", status.artifact.precision],
    ["Engine", `${status.engine.engine ?? "–"} ${status.engine.version ?? ""}`],
    ...Object.entries(status.engine)
      .filter(([name]) => name !== "engine" && name !== "version")
      .map(([name, text]) => [name[0].toUpperCase() + name.slice(1), text]),
  ]);
}

function versionRow(version, mayReload) {
  const row = make("li", {},
    make("strong", { text: version.name }),
    make("span", { text: `version ${version.version}`, kind: "quiet" }));
  if (version.current) row.append(make("span", { text: "in use", kind: "pill good" }));
  else if (mayReload) {
    const button = make("button", { text: "Load", type: "button" });
    button.addEventListener("click", () => reload(version.name));
    row.append(button);
  }
  if (version.note) row.append(make("span", { text: version.note, kind: "note" }));
  return row;
}

function showVersions(versions, mayReload) {
  element("versions-section").hidden = !versions.length;
  fill("versions", [versions, mayReload], () =>
    versions.map((version) => versionRow(version, mayReload)));
}

async function reload(name) {
  const said = element("reloaded");
  const buttons = [...document.querySelectorAll("#versions button")];
  for (const button of buttons) button.disabled = true;
  said.className = "fair";
  said.textContent = `Loading and proving ${name}; the one in use serves on …`;
  try {
    const answer = await ask("v1/reload", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name }),
      signal: null,
    });
    const content = await answer.json();
    said.className = answer.ok ? "good" : "bad";
    said.textContent = answer.ok ? content.message : content.error;
  } catch (error) {
    said.className = "bad";
    said.textContent = `No answer: ${error.message}`;
  }
  for (const button of buttons) button.disabled = false;
}

// ---- the whole page -----------------------------------------------------------------------------
function show(status) {
  const { health } = status;
  const pill = element("health");
  pill.className = `pill ${STATES[health.state] ?? "bad"}`;
  pill.textContent = health.reason ? `${health.state}: ${health.reason}` : health.state;
  const up = (new Date(status.now) - new Date(status.started)) / 1000;
  element("since").textContent = `running for ${age(up)}`;
  const down = showCameras(status.cameras, status.pipelines);
  const failing = showSinks(status.sinks);
  showLatest(status.latest);
  showReader(status);
  showVersions(status.versions, status.may_reload);
  const troubles = [
    health.state === "ready" ? "" : health.state,
    down ? `${down} camera${down > 1 ? "s" : ""} down` : "",
    failing ? `${failing} sink${failing > 1 ? "s" : ""} failing` : "",
  ].filter(Boolean);
  document.title = `${troubles.length ? `⚠ ${troubles.join(", ")} – ` : ""}Headlight gateway`;
}

function trouble(text) {
  const banner = element("trouble");
  banner.hidden = !text;
  if (banner.textContent !== text) banner.textContent = text;
  document.body.classList.toggle("stale", Boolean(text));
}

async function poll() {
  try {
    const answer = await ask("status.json");
    const refused = answer.status === 401;
    element("access").hidden = !refused;
    element("status").hidden = refused;
    if (refused) {
      element("health").textContent = "locked";
      trouble(token() ? "This token is not the gateway's." : "");
      return;
    }
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
    lastSeen = Date.now();
    trouble("");
  } catch (error) {
    const since = lastSeen === null ? "" : ` since ${clock(lastSeen)}; this is what it was then`;
    trouble(`No word from the gateway${since} (${error.message}).`);
    element("health").className = "pill bad";
    element("health").textContent = "no connection";
  }
}

async function keepPolling() {
  if (!document.hidden && element("access").hidden) await poll();
  setTimeout(keepPolling, EVERY_MS);
}

element("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", element("token").value);
  element("token").value = "";
  poll();
});
document.addEventListener("visibilitychange", () => document.hidden || poll());
keepPolling();
