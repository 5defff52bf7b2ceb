// The changes of the label, latest first, as they come.
import { askJson, make, pause, percent } from "./api.js";

const MOST = 100;
const list = document.getElementById("events");
let newest = 0;
let isFirst = true;

/** Wait for the next events and show them; where no thread of the agent can wait, ask again a little later. */
export async function showEvents() {
  const answer = await askJson(`api/v1/events?since=${newest}${isFirst ? "" : "&wait=20"}`);
  isFirst = false;
  newest = answer.newest;
  for (const event of answer.events) list.prepend(row(event));
  while (list.children.length > MOST) list.lastElementChild.remove();
  if (!list.children.length) list.append(make("li", { class: "none" }, "None yet. Each change of the label is listed here as it comes."));
  else if (list.children.length > 1) list.querySelector(".none")?.remove();
  await pause(answer.next_ms);
}

function row(event) {
  const when = new Date(event.ts);
  const children = [];
  if (event.has_picture) {
    children.push(make("img", { src: `api/v1/event.jpg?seq=${event.seq}`, alt: "", loading: "lazy", width: 80, height: 60 }));
  }
  const where = event.region ? `${event.region}: ` : "";
  children.push(
    make(
      "div",
      {},
      make("strong", {}, `${where}${event.to}`),
      ` ${percent(event.score)}, before: ${event.from} `,
      make("time", { datetime: event.ts }, when.toDateString() === new Date().toDateString() ? when.toLocaleTimeString() : when.toLocaleString()),
    ),
  );
  return make("li", {}, ...children);
}
