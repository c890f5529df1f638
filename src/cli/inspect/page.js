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
let view = "deliveries", head = null, lastAnswer = null;

// --- what is asked for ----------------------------------------------------------------

const jobs = {
  deliveries: { every: 500, due: 0, wanted: () => view === "deliveries", run: deliveries.poll },
  head: { every: 1000, due: 0, wanted: () => true, run: async () => {
    head = await figures.poll();
    deliveries.setStreams(head.streams);
  } },
  delivery: { every: 1000, due: 0, wanted: () => delivery.openId() !== null, run: delivery.poll },
  dead: { every: 2000, due: 0, wanted: () => view === "dead", run: () => dead.poll(head) },
  hooks: { every: 3000, due: 0, wanted: () => view === "hooks", run: pollHooks },
  commands: { every: 2000, due: 0, wanted: () => view === "commands", run: pollCommands },
};

const soon = () => { for (const job of Object.values(jobs)) job.due = 0; };

// One after the other: at most one request is under way. A failure ends the turn; the next one
// begins anew, so the page goes on when the program is back.
let isTurning = false;
async function turn() {
  isTurning = true;
  let pause = TURN_MS;
  try {
    for (const job of Object.values(jobs)) {
      if (!job.wanted() || job.due > performance.now()) continue;
      job.due = performance.now() + job.every;
      await job.run();
      lastAnswer = Date.now();
    }
    if (lastAnswer) notice("");
  } catch (failure) {
    notice(failure);
    soon();
    pause = RETRY_MS;
    if (failure.kind === "token") return isTurning = false; // until there is another token
  }
  setTimeout(turn, document.hidden ? RETRY_MS : pause);
}

// --- what the page says ---------------------------------------------------------------

const since = () => lastAnswer ? ` What is shown is from ${clock(lastAnswer)}.` : "";

function notice(failure) {
  const text = !failure ? "" : failure.kind === "ended"
    ? `acrelay inspect does not answer: it has ended, or cannot be reached.${since()} This page goes on by itself when it is back.`
    : failure.kind === "said" ? `${failure.message}${since()}` : failure.kind ? failure.message : `This page has an error: ${failure.message}`;
  $("notice").hidden = !text;
  setText($("notice"), text);
  const locked = failure?.kind === "token";
  $("door").hidden = !locked;
  for (const element of [document.querySelector("main"), $("figures"), document.querySelector("nav")]) element.hidden = locked;
  if (locked) $("token").focus();
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

function openDelivery(target, isMove = false) {
  wanted = { ce_id: target.ce_id, key: target.key, entry: target.entry };
  const hash = `#${new URLSearchParams({ id: target.ce_id })}`;
  if (isMove) history.replaceState(null, "", hash);
  else if (location.hash !== hash) history.pushState(null, "", hash);
  route();
}

function route() {
  if (takeToken()) restart();
  const id = new URLSearchParams(location.hash.slice(1)).get("id");
  if (id) {
    if (wanted?.ce_id !== id) wanted = { ce_id: id };
    delivery.open(wanted);
  } else {
    delivery.close();
    deliveries.forget();
    wanted = null;
    view = VIEWS.find(name => `#${name}` === location.hash) ?? "deliveries";
  }
  show();
  soon();
}

function show() {
  for (const name of VIEWS) {
    $(name).hidden = name !== view;
    const link = document.querySelector(`[data-view=${name}]`);
    if (name === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.body.classList.toggle("detailed", delivery.openId() !== null);
}

const closeDelivery = () => go(view);
const go = name => { location.hash = name === "deliveries" ? "" : name; };

// --- keys -----------------------------------------------------------------------------

function moveInView(by) {
  if (view === "deliveries") {
    deliveries.move(by);
    if (delivery.openId() !== null) openDelivery(deliveries.chosen(), true);
    return;
  }
  const items = [...$(view).querySelectorAll("[data-item]")];
  const at = items.findIndex(item => item.contains(document.activeElement));
  items[Math.max(0, Math.min(items.length - 1, at + by))]?.focus();
}

function escape() {
  if (delivery.openId() !== null) return closeDelivery();
  deliveries.forget();
  deliveries.clearFilter();
}

const openChosen = () => { if (view === "deliveries" && deliveries.chosen()) openDelivery(deliveries.chosen()); };

const KEYS = [
  [["ArrowDown", "j"], "↓ j", "next", () => moveInView(1)],
  [["ArrowUp", "k"], "↑ k", "previous", () => moveInView(-1)],
  [["Enter"], "Enter", "open the one that is chosen", openChosen],
  [["Escape"], "Escape", "close it; then clear the filter", escape],
  [["/"], "/", "filter", () => { go("deliveries"); $("filter-text").focus(); }],
  [["p"], "p", "pause, go on", deliveries.togglePause],
  [["g", "Home"], "g", "to the newest, and go on", deliveries.toTop],
  [["r"], "r", "show personal data of the open delivery", () => delivery.openId() && delivery.reveal().catch(failure => say(failure.message))],
  [["c"], "c", "copy the open delivery as curl", delivery.copyCurl],
  [["1", "2", "3", "4"], "1 – 4", "views", key => { const name = VIEWS[key - 1]; if (name !== "commands" || head?.commands) go(name); }],
  [["?"], "?", "this help", () => $("help").showModal()],
];

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const at = event.target, isField = at.matches("input, select, textarea");
  if (isField && event.key === "Escape") return at.blur();
  const moves = event.key.startsWith("Arrow") || event.key === "Home";
  if (isField || (event.key === "Enter" && at.matches("button, a, summary, [data-item]")) || (moves && $("detail").contains(at))) return;
  const found = KEYS.find(([keys]) => keys.includes(event.key));
  if (!found) return;
  event.preventDefault();
  found[3](event.key);
}

// --- start ----------------------------------------------------------------------------

function restart() {
  notice("");
  show();
  if (!isTurning) turn();
}

$("keys").append(...KEYS.flatMap(([, name, text]) => [el("dt", {}, el("kbd", {}, name)), el("dd", {}, text)]));
$("help-open").addEventListener("click", () => $("help").showModal());
$("door").addEventListener("submit", event => {
  event.preventDefault();
  const text = $("token").value.trim();
  $("token").value = "";
  if (takeToken(text.includes("token=") ? text : `#token=${text}`)) restart();
});
addEventListener("hashchange", route);
addEventListener("popstate", route);
addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", soon);
deliveries.start(openDelivery, soon);
delivery.start(say, closeDelivery);
dead.start(openDelivery, say, soon);
takeToken();
route();
turn();
