// Settings that are pairs, or sections with names of the owner's own: a row for each, added and removed by buttons.
import { make } from "./api.js";

const WORDS = {
  "labels.map": ["Label of the model", "is called"],
  "labels.thresholds": ["Label", "must score, 0 to 1"],
};
let rows = 0;

/** Whether a setting is of that kind. */
export const isPairs = ({ kind }) => kind === "sections" || kind.endsWith(" pairs");

/** The rows of a setting, and what reads them; `inputOf` and `read` are those of a plain setting. */
export function pairsOf(setting, id, inputOf, read) {
  const list = make("div");
  const add = make("button", { type: "button" }, setting.kind === "sections" ? "Add a region" : "Add a pair");
  const element = make("div", { id, role: "group", "aria-label": setting.key }, list, make("p", {}, add));
  const all = [];
  const tell = () => element.dispatchEvent(new Event("input", { bubbles: true }));
  const append = (name, value) => {
    const row = rowOf(setting, name, value, inputOf, read);
    const remove = make("button", { type: "button", class: "plain", "aria-label": `Remove ${name || "this one"}` }, "Remove");
    remove.addEventListener("click", () => {
      all.splice(all.indexOf(row), 1);
      row.element.remove();
      add.focus();
      tell();
    });
    row.element.append(remove);
    list.append(row.element);
    all.push(row);
    return row;
  };
  for (const [name, value] of Object.entries(setting.value)) append(name, value);
  add.addEventListener("click", () => {
    append("", null).element.querySelector("input").focus();
    tell();
  });
  return { element, read: () => Object.fromEntries(all.map((row) => row.read())) };
}

function rowOf(setting, name, value, inputOf, read) {
  const id = `pair-${(rows += 1)}`;
  const [first, second] = WORDS[setting.key] ?? ["Name", "value"];
  const key = make("input", { id, value: name, required: "", autocomplete: "off", spellcheck: "false", maxlength: 128 });
  const members = setting.members.length ? setting.members : [{ key: second, kind: setting.kind.split(" ")[0], value: "" }];
  const fields = members.map((member) => {
    const before = setting.members.length ? value?.[member.key] : value;
    const shown = { ...member, value: before ?? member.value };
    return { member, input: inputOf(shown, `${id}-${member.key.replace(/\W+/g, "-")}`) };
  });
  const labelled = fields.flatMap(({ member, input }) => [make("label", { for: input.id }, member.key), input]);
  const element = make("div", { class: "row" }, make("label", { for: id }, first), key, ...labelled);
  const values = () => fields.map(({ member, input }) => [member.key, read(member, input), member.value]);
  // Of a section, what has its default is left out: a polygon takes the place of a box.
  const section = () =>
    Object.fromEntries(values().filter(([, now, usual]) => JSON.stringify(now) !== JSON.stringify(usual)).map(([name_, now]) => [name_, now]));
  return { element, read: () => [key.value.trim(), setting.members.length ? section() : values()[0][1]] };
}
