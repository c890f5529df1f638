// Returns what WCAG AA does not allow: texts with a contrast below 4.5 (3 for large ones) to what
// is painted behind them, and things to use that have no name.
const wrong = [];

function colour(text) {
  const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
  return { rgb: [r, g, b], a };
}

function behind(element) {
  for (let e = element; e; e = e.parentElement) {
    const { rgb, a } = colour(getComputedStyle(e).backgroundColor);
    if (a === 1) return rgb;
  }
  return [255, 255, 255];
}

function brightness(rgb) {
  const [r, g, b] = rgb.map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
  const [light, dark] = [brightness(a), brightness(b)].sort((x, y) => y - x);
  return (light + 0.05) / (dark + 0.05);
}

let texts = 0;
for (const element of document.querySelectorAll("body *")) {
  if (!element.checkVisibility({ visibilityProperty: true }) || element.closest("svg, .unseen")) continue;
  const style = getComputedStyle(element);
  if ([...element.childNodes].some(n => n.nodeType === 3 && n.data.trim())) {
    const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const found = contrast(colour(style.color).rgb, behind(element));
    texts++;
    if (found < (isLarge ? 3 : 4.5)) wrong.push(`${element.tagName}.${element.className} "${element.textContent.slice(0, 40)}": ${found.toFixed(2)}`);
  }
  if (element.matches("button, a, input, select, textarea")) {
    const name = element.getAttribute("aria-label") || element.labels?.[0]?.textContent.trim() || element.textContent.trim();
    if (!name) wrong.push(`${element.outerHTML.slice(0, 80)} has no name`);
  }
}
if (texts < 10) wrong.push(`only ${texts} texts were seen`);
return wrong;
