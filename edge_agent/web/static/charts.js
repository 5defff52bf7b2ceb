// How the agent is, in words and as small charts over time.
import { askJson, make } from "./api.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST = 720;
const CHARTS = [
  { name: "Memory", unit: "MB", of: (sample) => sample.rss_mb, limit: (sample) => sample.budget_mb, from: 0 },
  { name: "Frames a second", unit: "", of: (sample) => sample.fps, from: 0 },
  { name: "Latency", unit: "ms", of: (sample) => sample.latency_ms, from: 0 },
  { name: "Temperature", unit: "°C", of: (sample) => sample.temperature_c },
  { name: "Broker", unit: "", of: (sample) => (sample.connected ? 1 : 0), words: ["not connected", "connected"], from: 0 },
  { name: "Camera", unit: "", of: (sample) => (sample.camera === "running" ? 1 : 0), words: ["not running", "running"], from: 0 },
];
const facts = document.getElementById("facts");
const charts = document.getElementById("charts");
const status = document.getElementById("status");
const troubles = document.getElementById("troubles");
let samples = null;
let told = "";

/** Show how the agent is now. */
export async function showBoard() {
  if (samples === null) samples = (await askJson("api/v1/history")).samples;
  const health = await askJson("api/v1/health");
  samples.push(sampleOf(health));
  if (samples.length > MOST) samples.shift();
  showFacts(health);
  showTroubles(health);
  charts.replaceChildren(...CHARTS.map(chart).filter(Boolean));
}

/** Show what is wrong with the connection to the agent; null when nothing is. */
export function showConnection(error) {
  status.textContent = error ? `No answer from the agent: ${error.message}` : "live";
  status.className = error ? "problem" : "good";
}

function sampleOf(health) {
  return {
    ts: health.ts,
    rss_mb: health.memory.rss_mb,
    budget_mb: health.memory.budget_mb,
    fps: health.fps,
    latency_ms: health.latency_ms.p50,
    temperature_c: health.board.temperature_c,
    connected: health.mqtt.connected,
    camera: health.camera.state,
  };
}

/** What its owner should see to. */
function showTroubles({ camera, mqtt, board, memory }) {
  const found = [];
  if (["starting", "reopening"].includes(camera.state) && camera.last_error) found.push(`No pictures come from the camera: ${camera.last_error}.`);
  if (camera.state === "ended") found.push("The video or folder has ended: no more pictures come.");
  if (camera.state === "paused") found.push("The camera is paused.");
  if (!mqtt.connected) found.push(`The broker is not connected: ${mqtt.last_error || "connecting"}. ${waiting(mqtt.queued_events)}`);
  if (memory.state === "hard") found.push("Memory is short: the agent gives up what it can do without.");
  if (board.under_voltage) found.push("The board gets too little power: check its supply.");
  if (board.pace_percent < 100) found.push("The board is hot: the agent takes fewer pictures until it has cooled.");
  const key = found.join("\n");
  if (key === told) return;
  told = key;
  troubles.replaceChildren(...found.map((text) => make("p", {}, text)));
}

const waiting = (count) => (count ? `${count} changes of the label wait, and are sent later.` : "Changes of the label are kept for it.");

function showFacts(health) {
  const { memory, camera, mqtt, board } = health;
  const rows = [
    ["Camera", camera.state + (camera.last_error && camera.state !== "running" ? `: ${camera.last_error}` : "")],
    ["Broker", mqtt.connected ? `connected, MQTT ${mqtt.protocol}` : mqtt.last_error || "not connected"],
    ["Changes not yet sent", String(mqtt.queued_events)],
    ["Memory", `${memory.rss_mb.toFixed(0)} of ${memory.budget_mb.toFixed(0)} MB, ${memory.peak_mb.toFixed(0)} at the highest`],
    ["Frames", `${health.fps === null ? "rate not known yet" : `${health.fps.toFixed(1)} a second`}, ${camera.dropped} dropped`],
    ["Board", board.temperature_c === null ? "temperature not known" : `${board.temperature_c.toFixed(0)} °C`],
    ["Running for", duration(health.uptime_s)],
  ];
  if (board.under_voltage) rows.push(["Power", "under-voltage: check the supply"]);
  if (board.pace_percent < 100) rows.push(["Pace", `${board.pace_percent.toFixed(0)}% of the usual rate, because of heat`]);
  facts.replaceChildren(...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function chart(kind) {
  const values = samples.map(kind.of);
  const known = values.filter((value) => value !== null && value !== undefined);
  if (!known.length) return null;
  const limit = kind.limit ? kind.limit(samples[samples.length - 1]) : null;
  const last = known[known.length - 1];
  const words = kind.words ? kind.words[last] : `${round(last)} ${kind.unit}`.trim();
  const range = kind.words ? "" : `, from ${round(Math.min(...known))} to ${round(Math.max(...known))}`;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 300 60");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${kind.name} over time: now ${words}${range}`);
  const low = kind.from ?? Math.min(...known) - 1;
  const high = Math.max(...known, limit ?? low, low + 1) * (kind.words ? 1.1 : 1.05);
  const x = (index) => (values.length > 1 ? (index / (values.length - 1)) * 300 : 300);
  const y = (value) => 58 - ((value - low) / (high - low)) * 56;
  if (limit !== null) add(svg, "line", { class: "limit", x1: 0, x2: 300, y1: y(limit), y2: y(limit) });
  add(svg, "path", { class: "line", d: path(values, x, y, kind.words) });
  return make("div", {}, make("h3", {}, `${kind.name}: ${words}`), svg);
}

function path(values, x, y, hasSteps) {
  let text = "";
  let pen = "M";
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      pen = "M";
      return;
    }
    if (hasSteps && pen === "L") text += `H${x(index).toFixed(1)}`;
    text += `${pen}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
  });
  return text;
}

function add(svg, name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  svg.append(element);
}

function duration(seconds) {
  if (seconds < 120) return "a minute";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} minutes`;
  return seconds < 86400 ? `${(seconds / 3600).toFixed(1)} hours` : `${(seconds / 86400).toFixed(1)} days`;
}

const round = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
