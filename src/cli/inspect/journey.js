// The way of one delivery, from the post to the last acknowledgement, as a line of steps that grows.
import { draw, el, setText, tableBody, tableHead } from "./dom.js";
import { clock, duration, plural, yesNo } from "./text.js";

// A step is { name, state: "done" | "partly" | "", note }.
function groupStep(name, groups, word) {
  const done = groups.filter(group => group[word]).length;
  const unknown = groups.filter(group => group[word] === null).length;
  return { name, state: groups.length && done === groups.length ? "done" : done ? "partly" : "",
    note: !groups.length ? "no consumer group yet" : unknown === groups.length ? "not known"
      : `${done} of ${plural(groups.length, "group")}` };
}

const after = (from, to) => from && to ? `${clock(to)} (+${duration(Math.max(0, Date.parse(to) - Date.parse(from)))})` : clock(to);

function stepsOf({ received, received_from, durable, stream, reason, groups }) {
  const start = [
    { name: "Received", state: "done", note: clock(received) + (received_from === "entry" ? ", as its entry says" : "") },
    { name: "Durable", state: durable ? "done" : "", note: yesNo(durable, "yes, on disk", "no") },
    { name: reason ? "Dead letter" : "In the stream", state: stream ? "done" : "", bad: reason !== null,
      note: stream ? after(received, stream) : "not yet, or not any more" },
  ];
  return reason ? start
    : [...start, groupStep("Read", groups, "read"), groupStep("Acknowledged", groups, "acknowledged")];
}

export function drawJourney(box, journey) {
  const steps = stepsOf(journey);
  draw(box, steps.length, () => steps.map(() => el("li", {}, el("b"), el("span"))));
  steps.forEach((step, i) => {
    const item = box.children[i];
    const goesOn = step.state === "done" && steps[i + 1]?.state;
    item.className = [step.state, step.bad ? "failed" : "", goesOn ? "on" : ""].join(" ");
    setText(item.children[0], step.name);
    setText(item.children[1], step.note);
  });
}

function heldBy({ read, acknowledged, consumer, deliveries, idle_ms }) {
  if (!read) return "the group has not reached it yet";
  if (acknowledged !== false) return "its position is past this entry";
  return `with ${consumer} for ${duration(idle_ms)}` + (deliveries > 1 ? `, delivered ${plural(deliveries, "time")}` : "");
}

export const groupRows = groups => [tableHead(["Group", "Read", "Acknowledged", "Where"]), tableBody(groups.map(group =>
  [group.name, yesNo(group.read), yesNo(group.acknowledged, "yes", "not yet"), el("span", { class: "quiet" }, heldBy(group))]))];
