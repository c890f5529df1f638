// Deliveries a second over the last two minutes, as a curve.

const WIDTH = 240, HEIGHT = 46, ROOM_ABOVE = 3;

function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const area = svg("path", { class: "area" });
const curve = svg("path", { class: "curve", "vector-effect": "non-scaling-stroke" });
export const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
  "aria-label": "Deliveries a second over the last two minutes" });
chart.append(area, svg("path", { class: "base", d: `M0 ${HEIGHT}H${WIDTH}`, "vector-effect": "non-scaling-stroke" }), curve);

// Counts by second, oldest first; null where nobody counted, which leaves the curve open.
export function drawChart(counts) {
  const max = Math.max(2, ...counts), step = WIDTH / (counts.length - 1);
  let line = "", fill = "", from = null;
  const close = x => { if (from !== null) fill += `L${x} ${HEIGHT}L${from} ${HEIGHT}Z`; from = null; };
  counts.forEach((count, i) => {
    const x = (i * step).toFixed(1);
    if (count === null) return close(((i - 1) * step).toFixed(1));
    const point = `${from === null ? "M" : "L"}${x} ${(HEIGHT - count / max * (HEIGHT - ROOM_ABOVE)).toFixed(1)}`;
    from ??= x;
    line += point;
    fill += point;
  });
  close(WIDTH);
  curve.setAttribute("d", line);
  area.setAttribute("d", fill);
}
