// Pictures that are chosen, dropped or taken: made smaller here, classified by the agent, one after another.
import { askJson, bars, make, pause } from "./api.js";

const SIDE = 1024;
const PREVIEW = 224;
const list = document.getElementById("tried");
const drop = document.getElementById("drop");
let queue = Promise.resolve();

/** Listen to the form. */
export function offerTrying() {
  document.getElementById("try-form").hidden = false;
  for (const id of ["files", "camera"]) {
    const input = document.getElementById(id);
    input.addEventListener("change", () => {
      take(input.files);
      input.value = "";
    });
  }
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files);
  });
}

function take(files) {
  for (const file of files) {
    const place = make("div", {}, make("p", {}, `${file.name}: waiting`));
    const item = make("li", {}, make("canvas", { width: 1, height: 1, "aria-hidden": "true" }), place);
    list.prepend(item);
    queue = queue.then(() => classify(file, item, place));
  }
}

async function classify(file, item, place) {
  try {
    const body = await prepared(file, item.querySelector("canvas"));
    const answer = await patiently(body);
    const time = `${file.name}, ${answer.latency_ms.infer} ms`;
    const heads = answer.heads.flatMap((head) => [
      make("p", { class: "hint" }, `Taught${head.region ? ` for ${head.region}` : ""}${head.why_unknown ? ", but unknown" : ""}:`),
      make("ol", { class: "top" }, ...bars(head.top)),
    ]);
    place.replaceChildren(make("p", { class: "hint" }, time), make("ol", { class: "top" }, ...bars(answer.top)), ...heads);
  } catch (error) {
    place.replaceChildren(make("p", { class: "problem" }, `${file.name}: ${error.message}`));
  }
}

/** Ask, and ask again for a while where the agent is busy. */
async function patiently(body) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await askJson("api/v1/classify", { method: "POST", headers: { "Content-Type": body.type }, body });
    } catch (error) {
      if (error.status !== 503 || tries === 5) throw error;
      await pause(1500);
    }
  }
}

/** The file as it is, or smaller where it is large; draws the preview. */
async function prepared(file, canvas) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return file; // the agent says what is wrong with it
  }
  draw(bitmap, canvas, PREVIEW);
  if (Math.max(bitmap.width, bitmap.height) <= SIDE && file.size < 1 << 20) return file;
  const small = make("canvas");
  draw(bitmap, small, SIDE);
  return new Promise((resolve) => small.toBlob((blob) => resolve(blob ?? file), "image/jpeg", 0.92));
}

function draw(bitmap, canvas, side) {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
}
