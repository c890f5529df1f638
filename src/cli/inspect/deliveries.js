// The live list: what has come since the last time, unless somebody looks at what is there.
import { get } from "./api.js";
import { $, draw, el, setText } from "./dom.js";
import { makeList, ROWS_MAX } from "./list.js";
import { clock, count } from "./text.js";

const PIPS_MAX = 6, ARRIVE_MAX = 20;
let streams = new Map();          // the groups of each stream, for the dots
let last = null, begins = true;   // the newest number seen; whether the list is to be loaded anew
let newer = 0;                    // how many came while the list stood still
let hasOlder = false, isAsking = false, isPaused = false, generation = 0;
let openRow, askSoon;

const filter = () => Object.fromEntries(new FormData($("filter")));
const isStill = () => !begins && (isPaused || !list.isAtTop || list.hasChoice);

function isUpTo(id, last) {
  const [ms, n] = id.split("-").map(Number), [lastMs, lastN] = last.split("-").map(Number);
  return ms < lastMs || (ms === lastMs && n <= lastN);
}

// A dot for each group that reads the stream, full where it has read this entry.
function fillPips(box, row) {
  const groups = (streams.get(row.key) ?? []).slice(0, PIPS_MAX);
  const read = groups.map(group => isUpTo(row.entry, group.last));
  draw(box, read, () => read.map(isRead => el("i", { class: isRead ? "done" : null })));
  box.title = groups.length ? `read by: ${groups.filter((_, i) => read[i]).map(group => group.name).join(", ") || "nobody yet"}` : "";
}

function fill(node, row) {
  const [time, type, subject, hook, pips] = node.children;
  const tag = row.reason ?? (row.replay ? "replay" : row.repeat ? "repeat" : null);
  setText(time, clock(row.received));
  draw(type, [row.type, tag], () => [row.reason ? "dead letter" : row.type, tag ? el("em", { class: "tag" }, tag) : ""]);
  type.classList.toggle("bad", row.reason !== null);
  setText(subject, row.subject ?? "");
  setText(hook, row.hook ?? "");
  fillPips(pips, row);
}

const list = makeList($("list"), { columns: ["time", "type", "subject", "hook", "pips"], fill,
  open: row => openRow(row), older: askOlder, moved: goOn });

export async function poll() {
  const mine = generation, isLoad = begins;
  const answer = await get("deliveries", { ...filter(), after: isLoad ? null : last, limit: isLoad ? 200 : 500 });
  if (mine !== generation) return;
  if (!isLoad && answer.last < last) return load(); // the program was started anew, and so its numbers
  const hasGap = !isLoad && (answer.more || answer.first - 1 > last);
  last = answer.last;
  fillChoices(answer);
  if (isStill()) {
    newer += answer.rows.length;
  } else if (isLoad || hasGap) {
    hasOlder = answer.more;
    list.replace(answer.rows);
  } else if (answer.rows.length) {
    const seen = answer.rows.length > ARRIVE_MAX ? 0 : performance.now();
    list.addNewer(answer.rows.map(row => ({ ...row, seen })));
  }
  begins = false;
  showState();
}

// What is loaded anew holds all that was counted meanwhile.
function load() {
  generation++;
  [last, begins, newer] = [null, true, 0];
  askSoon();
}

function goOn() {
  if (newer && !isStill()) load();
  showState();
}

async function askOlder() {
  if (!hasOlder || isAsking || list.length >= ROWS_MAX) return;
  isAsking = true;
  const mine = generation;
  try {
    const answer = await get("deliveries", { ...filter(), before: list.oldest.n, limit: 300 });
    if (mine !== generation) return;
    hasOlder = answer.more;
    list.addOlder(answer.rows);
  } catch {
    hasOlder = false; // the next poll says what is wrong
  } finally {
    isAsking = false;
    showState();
  }
}

function fillChoices({ types, hooks }) {
  for (const [id, any, values] of [["filter-type", "Any type", types], ["filter-hook", "Any hook", hooks]]) {
    const select = $(id), chosen = select.value;
    draw(select, [...new Set([...values, chosen])].filter(Boolean), () =>
      ["", ...new Set([...values, chosen].filter(Boolean))].map(word => el("option", { value: word }, word || any)));
    select.value = chosen;
  }
}

function stateText() {
  if (begins) return "Loading…";
  if (isPaused) return "Paused. New deliveries are counted, and shown when you go on.";
  if (list.length === 0) return Object.values(filter()).some(Boolean) ? "Nothing matches the filter."
    : "No delivery yet. The first one appears here by itself.";
  if (hasOlder) return `The newest ${count(list.length)}; older ones as you scroll.`;
  return list.length < ROWS_MAX ? `${count(list.length)} shown.` : `The newest ${count(ROWS_MAX)}. Older ones: acrelay tail --from 0`;
}

function showState() {
  $("fresh").hidden = newer === 0;
  setText($("fresh"), `${count(newer)} new – show`);
  setText($("list-note"), stateText());
}

export function setStreams(all) {
  streams = new Map(all.map(({ key, groups }) => [key, groups]));
  list.render();
}

export function setPaused(value) {
  isPaused = value;
  $("pause").setAttribute("aria-pressed", isPaused);
  setText($("pause"), isPaused ? "Go on" : "Pause");
  goOn();
}

export function togglePause() { setPaused(!isPaused); }

export function toTop() {
  list.forget();
  list.toTop();
  setPaused(false);
}

export const move = by => list.move(by);
export const chosen = () => list.chosen;

// The choice ends with the detail; at the top the list then goes on.
export function forget() {
  list.forget();
  goOn();
}

export function clearFilter() {
  $("filter").reset();
  load();
}

export function start(open, soon) {
  [openRow, askSoon] = [open, soon];
  fillChoices({ types: [], hooks: [] });
  $("filter").addEventListener("input", load);
  $("filter").addEventListener("submit", event => event.preventDefault());
  $("pause").addEventListener("click", togglePause);
  $("fresh").addEventListener("click", toTop);
  showState();
}
