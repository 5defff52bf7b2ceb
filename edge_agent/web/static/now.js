// The newest frame and its labels.
import { ask, askJson, bars } from "./api.js";

const frame = document.getElementById("frame");
const age = document.getElementById("frame-age");
const answers = document.getElementById("answers");
let shownFrame = null;
let shownAnswer = "";
let shownUrl = "";

/** Show what is seen now. */
export async function showNow() {
  const state = await askJson("api/v1/state");
  showAnswer(state);
  if (state.frame.id !== shownFrame) await showFrame(state.frame.id);
  const seconds = Math.max(0, (Date.now() - Date.parse(state.ts)) / 1000);
  age.textContent = state.ts_synced ? `${seconds.toFixed(1)} s ago, ${state.latency_ms.infer} ms to classify` : `${state.latency_ms.infer} ms to classify`;
}

function showAnswer(state) {
  const text = state.unknown ? "unknown" : state.label;
  const label = document.getElementById("label");
  if (label.textContent !== text) label.textContent = text;
  const key = JSON.stringify(state.top);
  if (key === shownAnswer) return;
  shownAnswer = key;
  document.getElementById("top").replaceChildren(...bars(state.top));
  frame.alt = `The newest frame of the camera: ${text}`;
}

async function showFrame(id) {
  const width = answers.clientWidth < 330 && window.devicePixelRatio < 2 ? 320 : 640;
  const picture = await (await ask(`api/v1/frame.jpg?width=${width}`)).blob();
  const url = URL.createObjectURL(picture);
  frame.src = url;
  if (shownUrl) URL.revokeObjectURL(shownUrl);
  shownUrl = url;
  shownFrame = id;
}

