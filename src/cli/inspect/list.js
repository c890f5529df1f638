// Rows, newest first. Of those that are kept (at most ROWS_MAX, whatever flows by) only those in
// sight are elements, and these are used again: neither memory nor the page grows.
import { el } from "./dom.js";

export const ROWS_MAX = 2000;
const MARGIN = 6, FRESH_MS = 900;

// fill(node, row) writes a row's texts; open(row) is what a click does; moved() is called when the
// place or the choice has changed.
export function makeList(box, { columns, fill, open, moved }) {
  const space = el("div", { class: "space", role: "presentation" });
  const pool = [];
  let rows = [], chosen = null, isDue = false;
  box.append(space);

  const rowHeight = () => parseFloat(getComputedStyle(box).getPropertyValue("--row"));

  function node(i) {
    if (i === pool.length) {
      const row = el("div", { role: "option", id: `row-${i}`, onclick: () => { list.choose(row.index); open(list.chosen); } },
        columns.map(name => el("span", { class: name })));
      pool.push(row);
      space.append(row);
    }
    return pool[i];
  }

  function show(row, element, index, height) {
    const isChosen = row.n === chosen;
    Object.assign(element, { index, hidden: false });
    element.style.transform = `translateY(${index * height}px)`;
    Object.assign(element, { ariaSelected: isChosen, ariaPosInSet: index + 1, ariaSetSize: rows.length });
    element.className = row.seen > performance.now() - FRESH_MS ? "row fresh" : "row";
    fill(element, row);
    if (isChosen) box.setAttribute("aria-activedescendant", element.id);
  }

  function render() {
    isDue = false;
    const height = rowHeight(), first = Math.max(0, Math.floor(box.scrollTop / height) - MARGIN);
    const end = Math.min(rows.length, first + Math.ceil(box.clientHeight / height) + 2 * MARGIN);
    space.style.height = `${rows.length * height}px`;
    box.removeAttribute("aria-activedescendant");
    for (let i = first; i < end; i++) show(rows[i], node(i - first), i, height);
    for (const element of pool.slice(Math.max(0, end - first))) element.hidden = true;
  }

  // At most once a frame, whatever calls for it.
  function renderSoon() {
    if (!isDue) requestAnimationFrame(render);
    isDue = true;
  }

  box.addEventListener("scroll", () => { renderSoon(); moved(); }, { passive: true });
  new ResizeObserver(renderSoon).observe(box);

  const list = {
    render: renderSoon,
    get length() { return rows.length; },
    get isAtTop() { return box.scrollTop < 4; },
    get chosen() { return rows.find(row => row.n === chosen); },
    addNewer(more) { rows = more.concat(rows).slice(0, ROWS_MAX); renderSoon(); },
    replace(all) {
      rows = all;
      if (!list.chosen) chosen = null;
      box.scrollTop = 0;
      renderSoon();
    },
    forget() { chosen = null; renderSoon(); moved(); },
    choose(index) {
      const height = rowHeight(), y = index * height;
      chosen = rows[index].n;
      box.scrollTop = Math.max(y + height - box.clientHeight, Math.min(y, box.scrollTop));
      renderSoon();
      moved();
    },
    // The next row down (1) or up (-1); the first in sight where none is chosen.
    move(by) {
      if (!rows.length) return;
      const at = rows.findIndex(row => row.n === chosen);
      const to = at < 0 ? Math.ceil(box.scrollTop / rowHeight()) : at + by;
      list.choose(Math.max(0, Math.min(rows.length - 1, to)));
    },
  };
  return list;
}
