// The page: which view is open, what is asked for and when, and the keys.
import { takeToken } from "./api.js";
import * as dead from "./dead.js";
import * as deliveries from "./deliveries.js";
import * as delivery from "./delivery.js";
import { $, el, setText } from "./dom.js";
import * as figures from "./figures.js";
import { pollCommands, pollHooks } from "./tables.js";
import { clock } from "./text.js";

const VIEWS = ["deliveries", "dead", "hooks", "commands"];
const SAID_MS = 5000, RETRY_MS = 1000, TURN_MS = 100;
let view = "deliveries", head = null, lastAnswer = null, isTurning = false;

// --- what is asked for ----------------------------------------------------------------

async function pollHead() {
  head = await figures.poll();
  deliveries.setStreams(head.streams);
}

const job = (every, wanted, run) => ({ every, wanted, run, due: 0 });
const jobs = [
  job(1000, () => true, pollHead),
  job(500, () => view === "deliveries", deliveries.poll),
  job(500, () => delivery.openId() !== null, delivery.poll),
  job(1000, () => view === "dead", () => dead.poll(head)),
  job(2000, () => view === "hooks", pollHooks),
  job(1000, () => view === "commands", pollCommands),
];
const soon = () => jobs.forEach(job => { job.due = 0; });

// One after the other: at most one request is under way. A failure ends the turn; the next one
// begins anew, so the page goes on when the program is back.
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
    isTurning = failure.kind !== "token"; // that waits for another one
    if (isTurning) setTimeout(turn, RETRY_MS);
  }
}

// --- what the page says ---------------------------------------------------------------

function notice(failure) {
  const isLocked = failure?.kind === "token";
  const since = lastAnswer ? ` What is shown is from ${clock(lastAnswer)}; this page goes on by itself.` : "";
  $("notice").hidden = !failure;
  setText($("notice"), failure ? failure.message + (isLocked ? "" : since) : "");
  $("door").hidden = !isLocked;
  for (const part of ["main", "nav", "#figures"]) document.querySelector(part).hidden = isLocked;
  if (isLocked) $("token").focus();
}

let saidTimer;
function say(text) {
  setText($("said"), text);
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => setText($("said"), ""), SAID_MS);
}

// --- where one is ---------------------------------------------------------------------

// #dead, #hooks, #commands are views; #id=CE_ID is one delivery, beside the view that is open.
let wanted = null; // the row or letter that was chosen, which says more than its ce_id

const go = name => { location.hash = name === "deliveries" ? "" : name; };

// A move to the next one replaces the place in the history, so that Back leads out.
function openDelivery({ ce_id, key, entry }, isMove = false) {
  const hash = `#${new URLSearchParams({ id: ce_id })}`;
  wanted = { ce_id, key, entry };
  if (location.hash !== hash) history[isMove ? "replaceState" : "pushState"](null, "", hash);
  route();
}

function route() {
  if (takeToken() && !isTurning) turn();
  const id = new URLSearchParams(location.hash.slice(1)).get("id");
  if (id) {
    if (wanted?.ce_id !== id) wanted = { ce_id: id };
    delivery.open(wanted);
  } else {
    wanted = null;
    delivery.close();
    deliveries.forget();
    view = VIEWS.find(name => `#${name}` === location.hash) ?? "deliveries";
  }
  for (const name of VIEWS) {
    $(name).hidden = name !== view;
    document.querySelector(`[data-view=${name}]`).ariaCurrent = name === view ? "page" : null;
  }
  soon();
}

// --- keys -----------------------------------------------------------------------------

function move(by) {
  if (view === "deliveries") {
    deliveries.move(by);
    if (delivery.openId() !== null && deliveries.chosen()) openDelivery(deliveries.chosen(), true);
    return;
  }
  const items = [...$(view).querySelectorAll("[data-item]")];
  const at = items.findIndex(item => item.contains(document.activeElement));
  items[Math.max(0, Math.min(items.length - 1, at + by))]?.focus();
}

function openChosen() {
  if (view === "deliveries" && deliveries.chosen()) openDelivery(deliveries.chosen());
}

function escape() {
  if (delivery.openId() !== null) return go(view);
  deliveries.forget();
  deliveries.clearFilter();
}

function openFilter() {
  go("deliveries");
  route();
  $("filter-text").focus();
}

const openView = key => { if (key !== "4" || head?.commands) go(VIEWS[key - 1]); };
const reveal = () => { if (delivery.openId() !== null) delivery.reveal(); };

const KEYS = [
  [["ArrowDown", "j"], "↓ j", "next", () => move(1)],
  [["ArrowUp", "k"], "↑ k", "previous", () => move(-1)],
  [["Enter"], "Enter", "open the one that is chosen", openChosen],
  [["Escape"], "Escape", "close it; then clear the filter", escape],
  [["/"], "/", "filter", openFilter],
  [["p"], "p", "pause, go on", deliveries.togglePause],
  [["g", "Home"], "g", "to the newest, and go on", deliveries.toTop],
  [["r"], "r", "show personal data of the open delivery", reveal],
  [["c"], "c", "copy the open delivery as curl", delivery.copyCurl],
  [["1", "2", "3", "4"], "1 – 4", "views", openView],
  [["?"], "?", "this help", () => $("help").showModal()],
];

// In a field keys write; in the open delivery arrows scroll; Enter on what can be used uses it.
function isOther({ key, target }) {
  return target.matches("input, select, textarea") || (key === "Enter" && target.matches("button, a, summary, [data-item]")) ||
    (/^(Arrow|Home)/.test(key) && $("detail").contains(target));
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && event.target.matches("input, select")) return event.target.blur();
  const found = isOther(event) ? null : KEYS.find(([keys]) => keys.includes(event.key));
  if (!found) return;
  event.preventDefault();
  found[3](event.key);
}

$("keys").append(...KEYS.flatMap(([, name, text]) => [el("dt", {}, el("kbd", {}, name)), el("dd", {}, text)]));
$("help-open").addEventListener("click", () => $("help").showModal());
$("door").addEventListener("submit", event => {
  event.preventDefault();
  const text = $("token").value.trim();
  $("token").value = "";
  if (takeToken(text.includes("token=") ? text : `#token=${text}`)) turn();
});
addEventListener("hashchange", route);
addEventListener("popstate", route);
addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", soon);
deliveries.start(openDelivery, soon);
delivery.start(say, () => go(view));
dead.start(openDelivery, say, soon);
route();
if (!isTurning) turn();
