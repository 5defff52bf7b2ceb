// The newest frame and its labels, of the whole picture or of each region that is watched.
import { ask, askJson, bars, make, percent } from "./api.js";

const OLD_S = 60;
const SVG = "http://www.w3.org/2000/svg";
const frame = document.getElementById("frame");
const boxes = document.getElementById("boxes");
const age = document.getElementById("frame-age");
const answers = document.getElementById("answers");
const shown = new Map();
let shownFrame = null;
let shownBoxes = "";
let shownUrl = "";

/** Show what is seen now. */
export async function showNow() {
  const { states, regions, age_s: seconds } = await askJson("api/v1/states");
  if (!states.length) return;
  showAnswers(states);
  showBoxes(regions);
  const newest = states.reduce((one, other) => (other.frame.id > one.frame.id ? other : one));
  if (newest.frame.id !== shownFrame) await showFrame(newest.frame.id);
  frame.parentElement.classList.toggle("old", seconds > OLD_S);
  age.textContent = `${seconds < OLD_S ? seconds.toFixed(1) : Math.round(seconds)} s ago, ${newest.latency_ms.infer} ms to classify`;
}

function showAnswers(states) {
  const names = states.map((state) => state.region ?? "");
  if (JSON.stringify(names) !== JSON.stringify([...shown.keys()])) {
    shown.clear();
    for (const name of names) shown.set(name, placeFor(name));
    answers.replaceChildren(...[...shown.values()].flatMap(({ title, label, top }) => [...(title ? [title] : []), label, top]));
  }
  for (const state of states) showAnswer(shown.get(state.region ?? ""), state);
  frame.alt = `The newest frame of the camera: ${states.map(labelOf).join(", ")}`;
}

function placeFor(name) {
  const title = name ? make("h3", { class: "region" }, name) : null;
  const top = make("ol", { class: "top", "aria-live": "off" });
  return { title, label: make("p", { class: "label" }), top, key: "" };
}

function showAnswer(place, state) {
  const text = labelOf(state);
  if (place.label.textContent !== text) place.label.textContent = text;
  const key = JSON.stringify(state.top);
  if (key === place.key) return;
  place.key = key;
  place.top.replaceChildren(...bars(state.top));
}

const labelOf = (state) => (state.unknown ? "unknown" : state.label);

function showBoxes(regions) {
  const key = JSON.stringify(regions);
  if (key === shownBoxes) return;
  shownBoxes = key;
  const drawn = Object.entries(regions).map(([name, [x, y, width, height]]) => {
    const box = document.createElementNS(SVG, "rect");
    for (const [attribute, value] of Object.entries({ x, y, width, height })) box.setAttribute(attribute, value);
    return box;
  });
  boxes.replaceChildren(...drawn);
  for (const old of frame.parentElement.querySelectorAll(".name")) old.remove();
  for (const [name, [x, y]] of Object.entries(regions)) {
    const text = make("span", { class: "name", "aria-hidden": "true" }, name);
    text.style.left = percent(x);
    text.style.top = percent(y);
    frame.parentElement.append(text);
  }
}

async function showFrame(id) {
  const isSmall = frame.clientWidth < 400 && window.devicePixelRatio < 2;
  const picture = await (await ask(`api/v1/frame.jpg?width=${isSmall ? 320 : 640}`)).blob();
  const url = URL.createObjectURL(picture);
  frame.src = url;
  frame.parentElement.classList.remove("waiting");
  frame.removeAttribute("width");
  frame.removeAttribute("height");
  if (shownUrl) URL.revokeObjectURL(shownUrl);
  shownUrl = url;
  shownFrame = id;
}
