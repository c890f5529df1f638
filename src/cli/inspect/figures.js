// The line above all views: how it flows, and what stands in the way.
import { get } from "./api.js";
import { chart, drawChart } from "./chart.js";
import { $, draw, el, setText } from "./dom.js";
import { bytes, count, plural, seconds } from "./text.js";

const NOW_SECONDS = 5;
const rateText = el("strong"), rateNote = el("span");
$("chart").append(chart, el("p", {}, rateText, " ", rateNote));

// The last second has not ended yet.
function drawRate(counts) {
  const known = counts.slice(0, -1).filter(n => n !== null), now = known.slice(-NOW_SECONDS);
  const rate = now.length ? now.reduce((sum, n) => sum + n, 0) / now.length : null;
  drawChart(counts.slice(0, -1));
  setText(rateText, rate === null ? "–" : rate < 10 ? rate.toFixed(1) : count(Math.round(rate)));
  setText(rateNote, known.length ? `deliveries a second, at most ${count(Math.max(...known))}` : "deliveries a second, not counted yet");
}

// A figure is [name, text, class, title, note]; what nobody can say is said so, with the reason.
function receiverFigures({ figures, state }) {
  if (!figures) return [["Unpublished", "not known", "quiet", `The receiver: ${state}.`]];
  const { unpublished, oldest_seconds, room_bytes } = figures;
  return [["Unpublished", count(unpublished)],
    ["Oldest", unpublished === 0 ? "–" : seconds(oldest_seconds), oldest_seconds > 10 ? "warn" : null],
    ["Room", bytes(room_bytes), room_bytes === 0 ? "bad" : "", "Room that the journal still has."]];
}

function groupFigure({ name, lag, pending, consumers }) {
  return [`Group ${name}`, lag === null ? "lag not known" : lag === 0 ? "up to date" : `${count(lag)} behind`, lag > 1000 ? "warn" : "",
    plural(consumers, "consumer"), pending ? `${count(pending)} not acknowledged` : ""];
}

function figuresOf(head) {
  const { receiver, streams, commands } = head;
  return [
    ...receiverFigures(receiver),
    ...(commands ? [["Commands", `${count(commands.waiting)} waiting`, "", ""]] : []),
    ...streams.flatMap(stream => stream.groups).map(groupFigure),
  ];
}

// Who is there: a word beside the name only where something is wrong.
const partsOf = ({ redis, receiver, worker, journal }) => [
  ["Redis", redis.up, "away", redis.text], ["Receiver", receiver.state === "ready", receiver.state, receiver.text],
  ["Worker", worker.state === "ready", worker.state, worker.text], ["Journal", journal.readable, "not readable here", journal.text]];

const part = ([name, isGood, word, title]) =>
  el("li", { title: title || null, class: isGood ? "good" : "bad" }, el("span", {}, isGood ? name : `${name}: ${word}${title ? ` (${title})` : ""}`));

const figure = ([name, text, style, title, note]) =>
  el("div", { title: title || null }, el("dt", {}, name), el("dd", { class: style }, text, note ? el("small", {}, ` ${note}`) : null));

// One request; the answer goes to whoever else needs it.
export async function poll() {
  const head = await get("head");
  drawRate(head.rate.counts);
  const figures = figuresOf(head);
  draw($("numbers"), figures, () => figures.map(figure));
  const parts = partsOf(head);
  draw($("parts"), parts, () => parts.map(part));
  document.title = `${head.account} – acrelay inspect`;
  setText($("place"), `${head.account} · ${head.namespace}`);
  setText($("dead-count"), head.dead ? count(head.dead + (head.dead_commands ?? 0)) : "");
  document.querySelector("[data-view=commands]").hidden = head.commands === null;
  return head;
}
