// Teaching: "this is ..." for the present frame or one that waits, undo, and how good what was taught is.
import { askJson, make, percent, sendJson } from "./api.js";

const REASONS = { unknown: "never seen", unsure: "unsure", flipping: "flip-flopping" };
const section = document.getElementById("teach");
const place = document.getElementById("teach-region");
const buttons = document.getElementById("teach-labels");
const form = document.getElementById("teach-form");
const name = document.getElementById("teach-label");
const message = document.getElementById("teach-message");
const review = document.getElementById("review");
const report = document.getElementById("report");
let labels = {};
let shown = "";

/** Show the section, and listen to it. */
export async function offerTeaching() {
  section.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const label = name.value.trim();
    if (label) attempt(async () => {
      await teach("add", { label });
      name.value = "";
    }, `This was taught as ${label}.`);
  });
  document.getElementById("teach-undo").addEventListener("click", () => attempt(() => teach("undo"), "The last lesson is undone."));
  document.getElementById("teach-revert").addEventListener("click", () => attempt(() => teach("revert"), "The agent answers as before the last fit."));
  document.getElementById("teach-report").addEventListener("click", () => attempt(showReport, ""));
  place.addEventListener("change", () => {
    shown = "";
    report.replaceChildren();
    attempt(showTeaching, "");
  });
}

/** Show the regions, the labels and the frames that wait for a name. */
export async function showTeaching() {
  const { states } = await askJson("api/v1/states");
  showRegions(states.map((state) => state.region ?? ""));
  const { questions } = await send("questions");
  const found = (await askJson("api/v1/info")).heads?.find((head) => (head.region ?? "") === place.value);
  labels = found?.labels ?? {};
  const key = JSON.stringify([labels, questions, place.value]);
  if (key === shown) return;
  shown = key;
  showLabels();
  review.replaceChildren(...questions.map(question));
}

function showRegions(names) {
  const wanted = names.length ? names : [""];
  if (JSON.stringify(wanted) === JSON.stringify([...place.options].map((option) => option.value))) return;
  place.replaceChildren(...wanted.map((value) => make("option", { value }, value || "the whole picture")));
  place.parentElement.hidden = wanted.length < 2;
}

function showLabels() {
  buttons.replaceChildren(...Object.keys(labels).map((label) => button(`This is ${label}`, () => teach("add", { label }), `This was taught as ${label}.`)));
}

const send = (verb, lesson = {}) => sendJson(`api/v1/teach/${verb}`, { region: place.value, ...lesson });

async function teach(verb, lesson) {
  const answer = await send(verb, lesson);
  if (answer.problem) throw new Error(answer.problem);
  shown = "";
  labels = answer.labels;
  showLabels();
}

function button(text, work, done) {
  const element = make("button", { type: "button" }, text);
  element.addEventListener("click", () => attempt(work, done));
  return element;
}

function question(each) {
  const picture = make("img", {
    src: `api/v1/question.jpg?region=${encodeURIComponent(place.value)}&question=${each.question}`,
    alt: `A frame that is ${REASONS[each.reason]}`,
    width: 112,
  });
  const item = make("li", {}, picture);
  const answer = (label) => async () => {
    await teach("add", { label, question: each.question });
    item.remove();
  };
  const choices = Object.keys(labels).map((label) => button(label, answer(label), `It was taught as ${label}.`));
  const text = `${REASONS[each.reason]}; most like ${each.best}`;
  item.append(make("div", {}, make("p", { class: "hint" }, text), ...choices.flatMap((choice) => [choice, " "])));
  return item;
}

async function attempt(work, done) {
  message.className = "";
  try {
    await work();
    message.textContent = done;
  } catch (error) {
    message.className = "problem";
    message.textContent = error.message;
  }
}

async function showReport() {
  const found = await send("report");
  if (found.confusion === undefined) {
    report.replaceChildren(make("p", {}, "Nothing was taught yet."));
    return;
  }
  const parts = [make("p", {}, howGood(found))];
  if (Object.keys(found.confusion).length) parts.push(confusion(found.confusion));
  if (found.missing.length) parts.push(make("h4", {}, "What is missing"), list(found.missing.map((text) => [text])));
  if (found.mislabelled.length) {
    parts.push(make("h4", {}, "Possibly mislabelled"), list(found.mislabelled.map(suspect)));
  }
  parts.push(make("h4", {}, "Labels"), list(Object.entries(found.labels).map(taught)));
  report.replaceChildren(...parts);
}

function howGood(found) {
  const examples = `${found.examples} examples, told apart by ${found.method}`;
  if (found.accuracy === null) return `${examples}. How often it is right is not known yet: show each label at two times at least.`;
  return `${examples}. Right on ${percent(found.accuracy)} of ${found.judged} that it had not seen (between ${percent(found.low)} and ${percent(found.high)}).`;
}

function confusion(rows) {
  const columns = [...new Set(Object.values(rows).flatMap((row) => Object.keys(row)))];
  const head = make("tr", {}, make("td"), ...columns.map((label) => make("th", { scope: "col" }, label)));
  const body = Object.entries(rows).map(([label, row]) =>
    make("tr", {}, make("th", { scope: "row" }, label), ...columns.map((column) => make("td", {}, String(row[column] ?? 0)))),
  );
  const table = make("table", {}, make("caption", {}, "What was shown (rows), and what was answered"), make("tbody", {}, head, ...body));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion matrix" }, table);
}

const list = (items) => make("ul", {}, ...items.map((parts) => make("li", {}, ...parts)));

function suspect(each) {
  const text = `An example of ${each.label} looks like ${each.answer} `;
  return [text, button("Remove it", () => remove({ example: each.key }), "The example is removed.")];
}

function taught([label, count]) {
  return [`${label}: ${count} `, button(`Remove ${label}`, () => remove({ label }), `${label} is removed; undo brings it back.`)];
}

async function remove(lesson) {
  await teach("remove", lesson);
  await showReport();
}
