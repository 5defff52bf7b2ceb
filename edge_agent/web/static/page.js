// Starts the parts of the page; each goes on by itself, and one that fails does not stop the others.
import { askJson, make, repeat } from "./api.js";
import { showBoard, showConnection } from "./charts.js";
import { showEvents } from "./events.js";
import { showNow } from "./now.js";
import { offerTrying } from "./try.js";

const quietly = () => {};

async function showModel() {
  const { model, engine, evidence, board, system, version } = await askJson("api/v1/info");
  const rows = [
    ["Model", `${model.name}, ${model.labels} labels`],
    ["SHA-256", model.sha256.slice(0, 16)],
    ["Engine", `${engine.engine}, ${engine.threads} threads, ${engine.library}`],
    ["Precision", `weights ${engine.precision}, arithmetic ${engine.arithmetic}`],
    ["Chosen because", evidence.reason],
    ["Agreement with FP32", evidence.agreement === null ? "not measured here" : `${(evidence.agreement * 100).toFixed(1)}%`],
    ["Board", `${board}, ${system}`],
    ["Version", version],
  ];
  const facts = rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  document.getElementById("model-facts").replaceChildren(...facts);
  document.getElementById("model").hidden = false;
}

offerTrying();
repeat(1000, showNow, showConnection);
repeat(0, showEvents, quietly);
repeat(3000, showBoard, quietly);
repeat(60000, showModel, quietly);
if (document.body.dataset.editable === "true") {
  import("./settings.js").then((settings) => settings.offerSettings());
  import("./regions.js").then((regions) => regions.offerRegions());
}
if (document.body.dataset.teachable === "true") {
  import("./teach.js").then((teach) => {
    teach.offerTeaching();
    repeat(4000, teach.showTeaching, quietly);
  });
}
