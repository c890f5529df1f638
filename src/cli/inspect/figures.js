// The line above all views: how it flows, and what stands in the way.
import { get } from "./api.js";
import { $, draw, el, setText } from "./dom.js";
import { bytes, count, plural, seconds } from "./text.js";

const NOW_SECONDS = 5, WIDTH = 240, HEIGHT = 46, ROOM_ABOVE = 3;

// Counts by second, oldest first; null where nobody counted, which leaves the curve open.
function drawChart(counts) {
  const max = Math.max(2, ...counts), step = WIDTH / (counts.length - 1);
  let line = "", area = "", from = null;
  const close = x => { if (from !== null) area += `L${x} ${HEIGHT}L${from} ${HEIGHT}Z`; from = null; };
  counts.forEach((count, i) => {
    const x = (i * step).toFixed(1);
    if (count === null) return close(((i - 1) * step).toFixed(1));
    const point = `${from === null ? "M" : "L"}${x} ${(HEIGHT - count / max * (HEIGHT - ROOM_ABOVE)).toFixed(1)}`;
    from ??= x;
    line += point;
    area += point;
  });
  close(WIDTH);
  document.querySelector("#chart .curve").setAttribute("d", line);
  document.querySelector("#chart .area").setAttribute("d", area);
}

// The last second has not ended yet. Zero is said only where the receiver (whose figures are there) could have received.
function drawRate({ waiting, redis_ok, rate: { counts } }) {
  const known = counts.slice(0, -1).filter(n => n !== null), now = known.slice(-NOW_SECONDS);
  const sum = now.reduce((sum, n) => sum + n, 0), isKnown = redis_ok && now.length && (sum || waiting !== undefined);
  const rate = isKnown ? sum / now.length : null;
  drawChart(counts.slice(0, -1));
  setText($("rate"), rate === null ? "–" : rate < 10 ? rate.toFixed(1) : count(Math.round(rate)));
  setText($("rate-note"), isKnown ? `deliveries a second (peak ${count(Math.max(...known))} in 2 min)`
    : `deliveries a second: ${now.length || !redis_ok ? "not known" : "not counted yet"}`); // why is said beside it
}

// A figure is [name, text, class, title, note]; what nobody can say is said so, with the reason.
function receiverFigures({ waiting = null, waiting_seconds = null, journal_free_bytes = null }) {
  return [["Waiting for Redis", count(waiting), "", "Deliveries that are on disk and not yet in Redis."],
    ["Oldest waiting", waiting === 0 ? "–" : seconds(waiting_seconds), waiting_seconds > 10 ? "warn" : null, "How long the first of them has waited."],
    ["Journal room", bytes(journal_free_bytes), journal_free_bytes === 0 ? "bad" : "", "What the journal may still take, up to journal.max and the free disk space."]];
}

function groupFigure({ name, lag, pending, consumers }) {
  return [`Group ${name}`, lag === null ? "lag not known" : lag === 0 ? "up to date" : `${count(lag)} behind`, lag > 1000 ? "warn" : "",
    plural(consumers, "consumer"), pending ? `${count(pending)} not acknowledged` : ""];
}

const figuresOf = head => [
  ...receiverFigures(head),
  ...(head.services.length ? [["Commands", head.services.some(({ waiting }) => waiting === undefined) ? count(null)
    : `${count(head.services.reduce((sum, { waiting }) => sum + waiting, 0))} waiting`]] : []),
  ...head.streams.flatMap(stream => stream.groups).map(groupFigure)];

// Who is there: what is wrong beside the name, only where something is. A worker need not be.
const partsOf = head => [
  ["Redis", head.redis_ok, `away (${head.redis})`, head.redis], ["Receiver", head.receiver_ok, head.receiver, head.receiver],
  ...(head.worker ? [["Worker", head.worker_ok, head.worker, head.worker]] : []),
  ["Journal", head.journal_ok, `not readable here (${head.journal})`, head.journal]];

const part = ([name, isGood, trouble, title]) =>
  el("li", { title, class: isGood ? "good" : "bad" }, el("span", {}, isGood ? name : `${name}: ${trouble}`));

const figure = ([name, text, style, title, note]) =>
  el("div", { title: title || null }, el("dt", {}, name), el("dd", { class: style }, text, note ? el("small", {}, ` ${note}`) : null));

// One request; the answer goes to all that need it.
export async function poll() {
  const head = await get("head");
  drawRate(head);
  const figures = figuresOf(head);
  draw($("numbers"), figures, () => figures.map(figure));
  const parts = partsOf(head);
  draw($("parts"), parts, () => parts.map(part));
  document.title = `${head.account} – acrelay inspect`;
  setText($("place"), `${head.account} · ${head.namespace}`);
  setText($("dead-count"), head.stream_dead ? count(head.stream_dead + (head.commands_dead ?? 0)) : "");
  document.querySelector("[data-view=commands]").hidden = !head.services.length;
  return head;
}
