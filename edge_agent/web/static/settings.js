// The configuration as a form: only what was changed is sent; what it would change is shown before it is saved.
import { askJson, make, pause, sendJson } from "./api.js";

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
    const name = field.setting.key.includes(".") ? field.setting.key.split(".")[0] : "device";
    if (!sections.has(name)) sections.set(name, make("details", {}, make("summary", {}, name)));
    sections.get(name).append(field.place);
  }
  form.replaceChildren(...sections.values(), preview, message, make("p", {}, check, " ", save));
}

function fieldOf(setting) {
  const id = `setting-${setting.key}`;
  const input = inputOf(setting, id);
  const values = [setting.values, setting.apply].filter(Boolean).join("; ");
  const help = make("div", { class: "hint", id: `${id}-help` }, `${setting.doc} (${values})`);
  input.setAttribute("aria-describedby", `${id}-help`);
  const place = make("div", { class: "setting" }, make("label", { for: id }, setting.key), input, help);
  return { setting, input, place, before: read(setting, input) };
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

const isChanged = (field) => JSON.stringify(read(field.setting, field.input)) !== JSON.stringify(field.before);

function asked() {
  const changed = fields.filter(isChanged);
  return { tag, settings: Object.fromEntries(changed.map(({ setting, input }) => [setting.key, read(setting, input)])) };
}

async function show() {
  const body = asked();
  if (!Object.keys(body.settings).length) return tell("Nothing was changed.");
  const answer = await sendJson("api/v1/settings/preview", body);
  preview.replaceChildren(
    ...answer.diff.map((line) => make(line.startsWith("+") ? "ins" : line.startsWith("-") ? "del" : "span", {}, `${line}\n`)),
  );
  const secrets = answer.changes.filter((change) => change.old === change.new);
  preview.append(...secrets.map((change) => make("ins", {}, `+ ${change.key}: another secret\n`)));
  preview.hidden = save.hidden = false;
  const effects = [...new Set(answer.changes.map((change) => change.apply))].join(", ");
  tell(effects ? `Saving it ${effects.replaceAll("applied at once", "is applied at once")}.` : "This changes nothing.");
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
  const problems = error.details?.problems ?? [];
  const lines = problems.map((problem) => make("li", {}, problem.line ? `line ${problem.line}: ${problem.message}` : problem.message));
  const what = problems.length ? [make("p", { class: "problem" }, "This cannot be saved:"), make("ul", { class: "problem" }, ...lines)] : [make("p", { class: "problem" }, error.message)];
  if (!message.isConnected) form.append(message);
  message.replaceChildren(...what);
}
