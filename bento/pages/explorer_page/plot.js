// A strip per list: a mark per item at its popularity (logarithmic). Cold items have a lane of their own at the left,
// where popularity would put all of them on one spot. The shape shows head, tail or cold.
const SVG = "http://www.w3.org/2000/svg";
const SIDE = 8, NAME = 20, STEP = 13, COLUMNS = 5, ROWS = 12; // pixels; marks beside, and above each other
const LANE = COLUMNS * STEP;
const LEFT = SIDE + LANE + 18; // where the axis of popularity begins

function make(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Draws strips ([name, items][]) and returns a description in words.
export function plot(svg, strips) {
  const width = Math.max(260, svg.parentElement.clientWidth - 32); // one unit is one pixel, so that text keeps its size
  const most = Math.max(2, ...strips.flatMap(([, items]) => items.map(users)));
  const x = (popularity) => LEFT + (width - LEFT - SIDE - 6) * (Math.log(Math.max(popularity, 1)) / Math.log(most));
  const placed = strips.map(([name, items]) => [name, items, [...inLane(items.filter(isCold)), ...stacked(items.filter((i) => !isCold(i)), x)]]);
  svg.replaceChildren();
  let bottom = 0;
  const drawn = placed.map(([name, items, marks]) => {
    const high = STEP * (1 + Math.max(0, ...marks.map(([, , row]) => row)));
    const base = bottom + NAME + high;
    const group = [make("text", { class: "name", x: SIDE, y: bottom + 14 }, `${name}: ${summary(items)}`)];
    group.push(make("line", { x1: SIDE, x2: width - SIDE, y1: base + 1, y2: base + 1 }));
    marks.forEach(([item, dx, row]) => group.push(mark(item, dx, base - STEP * (row + 0.5))));
    bottom = base + 6;
    return group;
  });
  for (const tick of ticks(most, width)) {
    svg.append(make("line", { x1: x(tick), x2: x(tick), y1: NAME, y2: bottom }));
    svg.append(make("text", { x: x(tick), y: bottom + 14, "text-anchor": "middle" }, tick.toLocaleString("en")));
  }
  svg.append(make("text", { x: SIDE + LANE / 2, y: bottom + 14, "text-anchor": "middle" }, "cold"));
  svg.append(make("text", { x: (LEFT + width) / 2, y: bottom + 30, "text-anchor": "middle" }, "users per item"));
  svg.append(...drawn.flat());
  svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 36}`);
  return placed.map(([name, items]) => `${name}: ${half(median(items))}.`).join(" ");
}

const users = (item) => item.popularity ?? 0;
const isCold = (item) => item.segment === "cold" || users(item) === 0;

function summary(items) {
  const cold = items.filter(isCold).length;
  return `${items.length} ${items.length === 1 ? "item" : "items"}${cold ? `, ${cold} cold` : ""}`;
}

function ticks(most, width) {
  const found = [1];
  const factor = most > 1000 || width < 400 ? 10 : 3.16;
  for (let tick = factor; tick <= most; tick *= factor) found.push(Math.round(tick));
  return [...new Set(found)];
}

// Cold items fill rows of the lane from the left, so that each can be told apart: [item, x, row].
function inLane(items) {
  return items.map((item, n) => [item, SIDE + STEP * ((n % COLUMNS) + 0.5), Math.floor(n / COLUMNS)]);
}

// Marks at nearly the same popularity are stacked; a stack of more than ROWS grows closer, not higher.
function stacked(items, x) {
  const stacks = grouped(items, x);
  return [...stacks.values()].flatMap((stack) => {
    const step = Math.min(1, (ROWS - 1) / Math.max(1, stack.length - 1));
    return stack.map((item, n) => [item, x(users(item)), n * step]);
  });
}

function grouped(items, x) {
  const stacks = new Map();
  items.forEach((item) => {
    const place = Math.round(x(users(item)) / STEP);
    stacks.set(place, [...(stacks.get(place) ?? []), item]);
  });
  return stacks;
}

function mark(item, x, y) {
  const shape = {
    head: () => make("rect", { x: -4.5, y: -4.5, width: 9, height: 9 }),
    tail: () => make("path", { d: "M0 -6L6 0L0 6L-6 0Z" }),
    cold: () => make("circle", { r: 5 }),
  }[item.segment]();
  shape.setAttribute("class", `mark ${item.segment}`);
  shape.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
  shape.append(make("title", {}, `${item.title || item.item_id}, ${item.segment}, ${users(item).toLocaleString("en")} users`));
  return shape;
}

function half(number) {
  if (number === 0) return "at least half of the items have no interactions yet";
  return `half of the items have ${number.toLocaleString("en")} users or fewer`;
}

function median(items) {
  const sorted = items.map(users).sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor((sorted.length - 1) / 2)] : 0;
}
