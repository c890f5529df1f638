// The page: which view is open, what is asked for and when, and the keys.
import { takeToken } from "./api.js";
import * as dead from "./dead.js";
import * as deliveries from "./deliveries.js";
import { list } from "./deliveries.js";
import * as delivery from "./delivery.js";
import { $, el, setText } from "./dom.js";
import * as figures from "./figures.js";
import { drawCommands, drawHooks } from "./tables.js";
import { clock, placeOf } from "./text.js";

const VIEWS = ["deliveries", "dead", "hooks", "commands"];
const RETRY_MS = 1000, TURN_MS = 100;
let view = "deliveries", head = null, lastAnswer = null, isTurning = false;

async function pollHead() {
  head = await figures.poll();
  deliveries.setHead(head);
}

const jobs = [
  { every: 1000, wanted: () => true, run: pollHead },
  { every: 500, wanted: () => view === "deliveries", run: deliveries.poll },
  { every: 500, wanted: () => delivery.openId() !== null, run: delivery.poll },
  { every: 1000, wanted: () => view === "dead", run: () => dead.poll(head) },
  { every: 2000, wanted: () => view === "hooks", run: () => drawHooks(head) },
  { every: 1000, wanted: () => view === "commands", run: () => drawCommands(head) },
];
const soon = () => jobs.forEach(job => { job.due = 0; });

// One after the other: at most one request is under way. A failure ends the turn; the next one
// begins again, so the page goes on when the program is back.
async function turn() {
  isTurning = true;
  try {
    for (const job of jobs) {
      if (!job.wanted() || job.due > performance.now()) continue;
      job.due = performance.now() + job.every;
      await job.run();
      lastAnswer = Date.now();
    }
    notice(null);
    setTimeout(turn, document.hidden ? RETRY_MS : TURN_MS);
  } catch (failure) {
    notice(failure);
    soon();
    isTurning = failure.status !== 401; // that waits for another one
    if (isTurning) setTimeout(turn, RETRY_MS);
  }
}

function notice(failure) {
  const isLocked = failure?.status === 401;
  const since = lastAnswer ? ` What is shown is from ${clock(lastAnswer)}; this page continues by itself.` : "";
  $("notice").hidden = !failure?.message;
  $("parts").classList.toggle("stale", Boolean(failure && !failure.status));
  setText($("notice"), failure ? failure.message + (isLocked ? "" : since) : "");
  $("door").hidden = !isLocked;
  for (const part of ["main", "nav", "#figures"]) document.querySelector(part).hidden = isLocked;
  if (isLocked) $("token").focus();
}

// #dead, #hooks, #commands are views; #id=CE_ID is one delivery, beside the view that is open.
const go = name => { location.hash = name === "deliveries" ? "" : name; };

function route() {
  if (takeToken() && !isTurning) turn();
  const { id, key, entry } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (id) {
    delivery.open({ ce_id: id, key, entry });
  } else {
    delivery.close();
    list.forget();
    view = VIEWS.find(name => `#${name}` === location.hash) ?? "deliveries";
  }
  for (const name of VIEWS) {
    $(name).hidden = name !== view;
    document.querySelector(`[data-view=${name}]`).ariaCurrent = name === view ? "page" : null;
  }
  soon();
}

// The next delivery replaces the one before in the history, so that Back leads out.
function move(by) {
  if (view === "deliveries") {
    list.move(by);
    if (delivery.openId() === null || !list.chosen) return;
    history.replaceState(null, "", placeOf(list.chosen));
    return route();
  }
  const items = [...$(view).querySelectorAll("[data-item]")];
  const at = items.findIndex(item => item.contains(document.activeElement));
  items[Math.max(0, Math.min(items.length - 1, at + by))]?.focus();
}

function escape() {
  if (delivery.openId() !== null) return go(view);
  list.forget();
  deliveries.clearFilter();
}

function openFilter() {
  go("deliveries");
  route();
  $("filter-text").focus();
}

const openChosen = () => { if (view === "deliveries" && list.chosen) location.hash = placeOf(list.chosen); };
const openView = key => go(VIEWS[key - 1]);

const KEYS = [
  [["ArrowDown", "j"], "↓ j", "next", () => move(1)],
  [["ArrowUp", "k"], "↑ k", "previous", () => move(-1)],
  [["Enter"], "Enter", "open the selected one", openChosen],
  [["Escape"], "Escape", "close it; then clear the filter", escape],
  [["/"], "/", "filter", openFilter],
  [["p"], "p", "pause, resume", deliveries.togglePause],
  [["g", "Home"], "g", "go to the newest, and resume", deliveries.toTop],
  [["r"], "r", "show personal data of the open delivery", () => delivery.openId() && delivery.reveal()],
  [["c"], "c", "copy the open delivery as curl", delivery.copyCurl],
  [["1", "2", "3"], "1 2 3", "deliveries, dead letters, hooks", openView],
  [["4"], "4", "commands", openView, () => Boolean(head?.services.length)],
  [["?"], "?", "this help", openHelp],
];
const keysThere = () => KEYS.filter(([, , , , isThere]) => isThere?.() ?? true);

function openHelp() {
  $("keys").replaceChildren(...keysThere().flatMap(([, name, text]) => [el("dt", {}, el("kbd", {}, name)), el("dd", {}, text)]));
  $("help").showModal();
}

// In a field keys write; in the open delivery arrows scroll; Enter on what can be used uses it.
function isOther({ key, target }) {
  return target.matches("input, select, textarea") || (key === "Enter" && target.matches("button, a, summary, [data-item]")) ||
    (/^(Arrow|Home)/.test(key) && $("detail").contains(target));
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && event.target.matches("input, select")) return event.target.blur();
  const found = isOther(event) ? null : keysThere().find(([keys]) => keys.includes(event.key));
  if (!found) return;
  event.preventDefault();
  found[3](event.key);
}

$("help-open").addEventListener("click", openHelp);
$("door").addEventListener("submit", event => {
  event.preventDefault();
  const text = $("token").value.trim();
  $("token").value = "";
  if (takeToken(text.includes("token=") ? text : `#token=${text}`)) turn();
});
addEventListener("hashchange", route);
addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", soon);
deliveries.start(soon);
delivery.start(() => go(view));
dead.start(() => { go(view); soon(); }); // the letter that was open is there no more
route();
if (!isTurning) turn();
