// A strip per list: a mark per item at its popularity (logarithmic); the shape shows head, tail or cold.
const SVG = "http://www.w3.org/2000/svg";
const LEFT = 104, RIGHT = 20, STRIP = 34, TOP = 8;

function make(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Draws strips ([name, items][]) and returns a description in words.
export function plot(svg, strips) {
  const width = Math.max(280, svg.parentElement.clientWidth - 32); // one unit is one pixel, so that text keeps its size
  const most = Math.max(1, ...strips.flatMap(([, items]) => items.map((item) => item.popularity ?? 0)));
  const x = (popularity) => LEFT + (width - LEFT - RIGHT) * (Math.log1p(popularity) / Math.log1p(most));
  const bottom = TOP + STRIP * strips.length;
  svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 34}`);
  svg.replaceChildren();
  for (const tick of ticks(most)) {
    svg.append(make("line", { x1: x(tick), x2: x(tick), y1: TOP, y2: bottom }));
    svg.append(make("text", { x: x(tick), y: bottom + 14, "text-anchor": "middle" }, tick.toLocaleString("en")));
  }
  svg.append(make("text", { x: (LEFT + width) / 2, y: bottom + 30, "text-anchor": "middle" }, "users per item"));
  strips.forEach(([name, items], row) => {
    const middle = TOP + STRIP * (row + 0.5);
    svg.append(make("text", { x: LEFT - 14, y: middle + 4, "text-anchor": "end" }, name));
    spread(items, x).forEach(([item, dx, dy]) => svg.append(mark(item, dx, middle + dy)));
  });
  return strips.map(([name, items]) => `${name}: ${half(median(items))}.`).join(" ");
}

function ticks(most) {
  const found = [0];
  for (let tick = 1; tick < most; tick *= most > 1000 ? 10 : 3.16) found.push(Math.round(tick));
  return [...new Set(found)];
}

// Overlapping marks are shifted up and down in turn.
function spread(items, x) {
  const taken = new Map();
  return items.map((item) => {
    const place = Math.round(x(item.popularity ?? 0) / 9);
    const before = taken.get(place) ?? 0;
    taken.set(place, before + 1);
    const step = Math.ceil(before / 2) * 7 * (before % 2 ? -1 : 1);
    return [item, x(item.popularity ?? 0), Math.max(-13, Math.min(13, step))];
  });
}

function mark(item, x, y) {
  const shape = {
    head: () => make("rect", { x: -4.5, y: -4.5, width: 9, height: 9 }),
    tail: () => make("path", { d: "M0 -6L6 0L0 6L-6 0Z" }),
    cold: () => make("circle", { r: 5 }),
  }[item.segment]();
  shape.setAttribute("class", `mark ${item.segment}`);
  shape.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
  shape.append(make("title", {}, `${item.title}, ${item.segment}`));
  return shape;
}

function half(users) {
  if (users === 0) return "at least half of the items have no interactions yet";
  return `half of the items have ${users.toLocaleString("en")} users or fewer`;
}

function median(items) {
  const sorted = items.map((item) => item.popularity ?? 0).sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor((sorted.length - 1) / 2)] : 0;
}
