// The live list: what has come since the last time, unless somebody looks at what is there.
import { get } from "./api.js";
import { $, draw, el, setText } from "./dom.js";
import { makeList, ROWS_MAX } from "./list.js";
import { clock, count, isUpTo, placeOf } from "./text.js";

const PIPS_MAX = 6, ARRIVE_MAX = 20, WORDS_MAX = 64;
const TAGS = { duplicate: "ActiveCampaign has sent the same before.", replay: "It was a dead letter, and was replayed." };
const words = { type: new Set(), hook: new Set() }; // that were seen, to choose from
let streams = new Map();          // the groups of each stream, for the dots
let last = null;                  // the newest number seen; null: the list is to be loaded again
let newer = 0;                    // how many came while the list stood still
let isPaused = false, generation = 0;
let isRedisAway = false, redisSeen = null;
let askSoon;

const filter = () => Object.fromEntries(new FormData($("filter")));
const isStill = () => isPaused || !list.isAtTop || list.chosen !== undefined;

// A dot for each group that reads the stream, full where it has read this entry.
function fillPips(box, row) {
  const groups = (streams.get(row.key) ?? []).slice(0, PIPS_MAX);
  const read = groups.map(group => isUpTo(row.entry, group.last));
  draw(box, read, () => read.map(isRead => el("i", { class: isRead ? "done" : null })));
  box.title = groups.length ? `Read by: ${groups.filter((_, i) => read[i]).map(group => group.name).join(", ") || "nobody yet"}` : "no consumer group yet";
}

function fill(node, row) {
  const [time, type, subject, hook, pips] = node.children;
  const tag = row.reason ?? (row.replay ? "replay" : row.repeat ? "duplicate" : null);
  setText(time, clock(row.received));
  draw(type, [row.type, tag], () => [row.reason ? "dead letter" : row.type, tag ? el("em", { class: "tag", title: TAGS[tag] }, tag) : ""]);
  type.classList.toggle("bad", row.reason !== null);
  setText(subject, row.subject ?? "");
  setText(hook, row.hook ?? "");
  fillPips(pips, row);
}

export const list = makeList($("list"), { columns: ["time", "type", "subject", "hook", "pips"], fill,
  open: row => { location.hash = placeOf(row); }, moved: goOn });

function isWanted(row, { type, hook, subject }) {
  return (!type || row.type === type) && (!hook || row.hook === hook) && row.subject.startsWith(subject);
}

export async function poll() {
  const mine = generation, wanted = filter(), isLoad = last === null;
  const answer = await get("deliveries", { text: wanted.text, after: last });
  if (mine !== generation) return;
  if (!isLoad && answer.last < last) return load(); // the program was restarted, and so its numbers
  const hasGap = !isLoad && answer.first - 1 > last;
  const rows = answer.rows.filter(row => isWanted(row, wanted));
  last = answer.last;
  fillChoices(answer.rows);
  if (!isLoad && isStill()) {
    newer += rows.length;
  } else if (isLoad || hasGap) {
    list.replace(rows);
  } else if (rows.length) {
    const seen = rows.length > ARRIVE_MAX ? 0 : performance.now();
    list.addNewer(rows.map(row => ({ ...row, seen })));
  }
  showState();
}

// What is loaded again holds all that was counted meanwhile.
function load() {
  generation++;
  [last, newer] = [null, 0];
  askSoon();
}

function goOn() {
  if (newer && !isStill()) load();
  showState();
}

function fillChoices(rows) {
  for (const [name, any] of [["type", "Any type"], ["hook", "Any hook"]]) {
    const select = $(`filter-${name}`), chosen = select.value, seen = words[name];
    for (const row of rows) if (row[name] && seen.size < WORDS_MAX) seen.add(row[name]);
    draw(select, [...seen], () => ["", ...seen].map(word => el("option", { value: word }, word || any)));
    select.value = chosen;
  }
}

function stateText() {
  if (last === null) return "Loading…";
  if (isRedisAway) return `The list has not been updated${redisSeen ? ` since ${clock(redisSeen).replace(/\.\d+$/, "")}` : ""}: Redis does not answer.`;
  if (isPaused) return "Paused. New deliveries are counted, and shown when you resume.";
  if (list.length === 0) return Object.values(filter()).some(Boolean) ? "Nothing matches the filter."
    : "No delivery yet. The first one appears here by itself.";
  return list.length < ROWS_MAX ? `${count(list.length)} shown.` : `The newest ${count(ROWS_MAX)}. Older ones: acrelay tail --from 0`;
}

function showState() {
  $("fresh").hidden = newer === 0;
  setText($("fresh"), `${count(newer)} new – show`);
  setText($("list-note"), stateText());
  setText($("pause"), isStill() ? "Resume" : "Pause");
  $("pause").setAttribute("aria-pressed", isStill());
}

export function setHead({ redis_ok, streams: all }) {
  if (redis_ok) redisSeen = Date.now();
  isRedisAway = !redis_ok;
  streams = new Map(all.map(({ key, groups }) => [key, groups]));
  showState();
  list.render();
}

export function togglePause() {
  if (isStill()) return toTop();
  isPaused = true;
  showState();
}

export function toTop() {
  isPaused = false;
  $("list").scrollTop = 0;
  list.forget(); // and goes on
}

export function clearFilter() {
  $("filter").reset();
  load();
}

export function start(soon) {
  askSoon = soon;
  fillChoices([]);
  $("filter").addEventListener("input", load);
  $("filter").addEventListener("submit", event => event.preventDefault());
  $("pause").addEventListener("click", togglePause);
  $("fresh").addEventListener("click", toTop);
  showState();
}
