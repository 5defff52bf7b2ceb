// The configuration as a form: only what was changed is sent; what it would change is shown before it is saved.
import { askJson, make, pause, sendJson } from "./api.js";
import { isPairs, pairsOf } from "./pairs.js";

const form = document.getElementById("settings-form");
const message = make("div", { role: "status" });
const preview = make("pre", { hidden: "", tabindex: "0", "aria-label": "What would change in the file" });
const check = make("button", { type: "submit" }, "Show what would change");
const save = make("button", { type: "button", hidden: "" }, "Save");
let tag = "";
let fields = [];

/** Fetch the settings, and show the form. */
export async function offerSettings() {
  document.getElementById("settings").hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(show);
  });
  form.addEventListener("input", (event) => {
    save.hidden = preview.hidden = true;
    const place = event.target.closest(".setting");
    const field = fields.find((one) => one.place === place);
    if (field) place.dataset.changed = String(isChanged(field));
  });
  save.addEventListener("click", () => attempt(store));
  await attempt(load);
}

async function attempt(work) {
  save.disabled = check.disabled = true;
  try {
    await work();
  } catch (error) {
    complain(error);
  }
  save.disabled = check.disabled = false;
}

async function load() {
  const answer = await askJson("api/v1/settings");
  tag = answer.tag;
  fields = answer.settings.map(fieldOf);
  const sections = new Map();
  for (const field of fields) {
    const { key, kind } = field.setting;
    const name = key.includes(".") || kind === "sections" ? key.split(".")[0] : "device";
    if (!sections.has(name)) {
      const doc = answer.sections[name] ?? (kind === "sections" ? field.setting.doc : "What it is called.");
      sections.set(name, make("details", {}, make("summary", {}, `${name} `, make("span", {}, doc))));
    }
    sections.get(name).append(field.place);
  }
  form.replaceChildren(...sections.values(), preview, message, make("p", {}, check, " ", save));
}

function fieldOf(setting) {
  const id = `setting-${setting.key}`;
  const values = [setting.values, setting.apply].filter(Boolean).join("; ");
  const help = make("div", { class: "hint", id: `${id}-help` }, `${setting.doc} (${values})`);
  const field = isPairs(setting) ? pairsOf(setting, id, inputOf, read) : plainField(setting, id);
  field.element.setAttribute("aria-describedby", `${id}-help`);
  const title = isPairs(setting) ? make("strong", {}, setting.key) : make("label", { for: id }, setting.key);
  const place = make("div", { class: "setting" }, title, field.element, help);
  return { setting, place, read: field.read, before: field.read() };
}

function plainField(setting, id) {
  const element = inputOf(setting, id);
  return { element, read: () => read(setting, element) };
}

function inputOf(setting, id) {
  const { kind, value } = setting;
  if (kind === "switch" || kind === "choice") {
    const choices = kind === "switch" ? ["false", "true"] : setting.choices;
    const select = make("select", { id });
    for (const choice of choices) select.append(make("option", { value: choice }, choice));
    select.value = String(value);
    return select;
  }
  if (kind === "secret") {
    return make("input", { id, type: "password", autocomplete: "off", placeholder: value ? "set; leave empty to keep it" : "not set" });
  }
  const text = Array.isArray(value) ? value.join(", ") : String(value);
  const mode = kind === "whole" ? "numeric" : kind === "number" ? "decimal" : "text";
  return make("input", { id, type: "text", inputmode: mode, value: text, autocomplete: "off", spellcheck: "false" });
}

function read({ kind }, input) {
  const text = input.value.trim();
  const list = text.split(",").map((item) => item.trim()).filter(Boolean);
  if (kind === "switch") return text === "true";
  if (kind === "whole" || kind === "number") return numberOf(text);
  if (kind === "numbers") return list.map(numberOf);
  if (kind === "texts") return list;
  return text;
}

// What is no number goes to the agent as it is: it says what is wrong with it.
const numberOf = (text) => (text !== "" && Number.isFinite(Number(text)) ? Number(text) : text);

const isChanged = (field) => JSON.stringify(field.read()) !== JSON.stringify(field.before);

function asked() {
  const changed = fields.filter(isChanged);
  return { tag, settings: Object.fromEntries(changed.map(({ setting, read: now }) => [setting.key, now()])) };
}

async function show() {
  const body = asked();
  if (!Object.keys(body.settings).length) return tell("Nothing was changed.");
  const answer = await sendJson("api/v1/settings/preview", body);
  preview.replaceChildren(...linesOf(answer));
  preview.hidden = save.hidden = false;
  const effects = [...new Set(answer.changes.map((change) => change.apply))].join(", ");
  tell(effects ? `Saving it ${effects.replaceAll("applied at once", "is applied at once")}.` : "This changes nothing.");
}

/** The lines of the file that an edit changes. */
export function linesOf(answer) {
  const lines = answer.diff.map((line) => make(line.startsWith("+") ? "ins" : line.startsWith("-") ? "del" : "span", {}, `${line}\n`));
  const secrets = answer.changes.filter((change) => change.old === change.new);
  return [...lines, ...secrets.map((change) => make("ins", {}, `+ ${change.key}: another secret\n`))];
}

/** What is wrong with an edit, with the lines of the file. */
export function problemOf(error) {
  const problems = error.details?.problems ?? [];
  if (!problems.length) return [make("p", { class: "problem" }, error.message)];
  const lines = problems.map((problem) => make("li", {}, problem.line ? `line ${problem.line}: ${problem.message}` : problem.message));
  return [make("p", { class: "problem" }, "This cannot be saved:"), make("ul", { class: "problem" }, ...lines)];
}

async function store() {
  const answer = await sendJson("api/v1/settings", asked());
  save.hidden = preview.hidden = true;
  tell(`Saved; the file before it is kept as ${answer.backup}. Waiting for the agent to read it.`);
  await pause(4000);
  let refused = "";
  try {
    refused = (await askJson("api/v1/info")).config_error;
  } catch {
    tell("Saved; the agent restarts.");
    await pause(8000);
  }
  await load();
  if (refused) complain(new Error(`Saved, but the agent goes on with the settings before: ${refused}`));
  else tell("Saved, and in force.");
}

function tell(text) {
  message.replaceChildren(make("p", {}, text));
}

function complain(error) {
  if (!message.isConnected) form.append(message);
  message.replaceChildren(...problemOf(error));
}
