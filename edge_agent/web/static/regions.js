// A region is drawn on the frame with mouse, pen or finger, or typed as numbers; saved, it is watched on its own.
import { askJson, make, sendJson } from "./api.js";
import { linesOf, problemOf } from "./settings.js";

const frame = document.getElementById("frame");
const form = document.getElementById("region-form");
const name = document.getElementById("region-name");
const numbers = document.getElementById("region-box");
const message = document.getElementById("region-message");
const draw = document.getElementById("region-draw");
const preview = document.getElementById("region-preview");
const keep = document.getElementById("region-save");
let begun = null;
let shownPart = [0, 0, 1, 1];

/** Show the form, and listen to it. */
export function offerRegions() {
  form.hidden = document.getElementById("regions").hidden = false;
  draw.addEventListener("click", async () => {
    setDrawing(!isDrawing());
    shownPart = (await askJson("api/v1/states")).window; // a camera may show its regions alone
  });
  frame.parentElement.addEventListener("pointerdown", begin);
  frame.parentElement.addEventListener("pointermove", follow);
  frame.parentElement.addEventListener("pointerup", end);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(show);
  });
  form.addEventListener("input", hide);
  keep.addEventListener("click", () => attempt(save));
}

const isDrawing = () => draw.getAttribute("aria-pressed") === "true";

function setDrawing(is) {
  draw.setAttribute("aria-pressed", String(is));
  frame.parentElement.classList.toggle("drawing", is);
  if (is) tell("Drag over the frame.");
}

function at(event) {
  const { left, top, width, height } = frame.getBoundingClientRect();
  const share = (value) => Math.min(1, Math.max(0, value));
  return [share((event.clientX - left) / width), share((event.clientY - top) / height)];
}

function begin(event) {
  if (!isDrawing()) return;
  event.preventDefault();
  frame.parentElement.setPointerCapture(event.pointerId);
  begun = at(event);
}

function follow(event) {
  if (begun === null) return;
  const [x, y] = at(event);
  const [left, top, width, height] = shownPart;
  const box = [
    left + Math.min(x, begun[0]) * width,
    top + Math.min(y, begun[1]) * height,
    Math.abs(x - begun[0]) * width,
    Math.abs(y - begun[1]) * height,
  ];
  numbers.value = box.map((value) => value.toFixed(3)).join(", ");
}

function end(event) {
  if (begun === null) return;
  follow(event);
  begun = null;
  setDrawing(false);
  hide();
  tell("Give it a name.");
  name.focus();
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    message.replaceChildren(...problemOf(error));
  }
}

async function show() {
  const answer = await sendJson("api/v1/settings/preview", await edit());
  preview.replaceChildren(...linesOf(answer));
  preview.hidden = keep.hidden = false;
  tell("These lines of the file would change.");
}

async function save() {
  await sendJson("api/v1/settings", await edit());
  hide();
  name.value = numbers.value = "";
  tell("Saved: it is watched in a moment.");
}

function hide() {
  preview.hidden = keep.hidden = true;
}

async function edit() {
  const box = numbers.value.split(",").map((text) => Number(text));
  const { config } = await askJson("api/v1/config");
  const { tag } = await askJson("api/v1/settings");
  const before = Object.entries(config.regions).map(([known, region]) => [known, asWritten(region)]);
  const regions = { ...Object.fromEntries(before), [name.value.trim()]: { box } };
  return { tag, settings: { regions } };
}

/** A region as its owner would write it: by its corners, or by its box. */
function asWritten({ box, polygon, priority }) {
  return polygon?.length ? { polygon, priority } : { box, priority };
}

function tell(text) {
  message.replaceChildren(make("p", {}, text));
}
