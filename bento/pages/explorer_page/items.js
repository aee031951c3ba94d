// Items as rows of a list: title, a badge with text and shape, popularity, and an explanation on demand.
const LARGEST = 8; // parts of a score that are shown one by one
const SHAPES = { head: "■", tail: "◆", cold: "○" };

export function element(name, { text, label, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  if (label !== undefined) made.setAttribute("aria-label", label);
  made.append(...children);
  return made;
}

export function fill(list, rows) {
  list.replaceChildren(...rows);
}

export function badge(segment) {
  return element("span", { className: `badge ${segment}`, text: `${SHAPES[segment] ?? ""} ${segment}` });
}

export function users(number) {
  return number === 0 ? "no interactions yet" : `${number.toLocaleString("en")} ${number === 1 ? "user" : "users"}`;
}

// move: description of the item's move; explained: (item) -> answer of `explain`, if the list has one;
// similar: (item) -> answer of `similar_items`.
export function itemRow(item, { move, explained, similar }) {
  const facts = element("div", { className: "facts" }, element("span", { text: item.item_id }));
  if (item.popularity !== undefined) facts.append(element("span", { text: users(item.popularity) }));
  if (item.score !== undefined) facts.append(element("span", { text: `score ${item.score.toFixed(3)}` }));
  if (move) facts.append(element("span", { className: "move", text: move }));
  const row = element("div", { className: "item" }, element("span", { className: "title", text: named(item) }));
  row.append(badge(item.segment), facts);
  const more = element("div", { className: "more" });
  if (explained) more.append(onDemand("Why?", `Why ${named(item)}?`, async () => reasons(await explained(item))));
  if (similar) more.append(onDemand("Similar", `Items similar to ${named(item)}`, async () => [like((await similar(item)).items)]));
  row.append(more);
  return element("li", {}, row);
}

const named = (item) => item.title || item.item_id;

function like(items) {
  if (!items.length) return element("p", { className: "hint", text: "No other items." });
  return element("ul", { className: "similar" }, ...items.map((item) => {
    const facts = `${item.item_id} · ${users(item.popularity)} · similarity ${item.score.toFixed(2)}`;
    return element("li", {}, badge(item.segment), ` ${named(item)} `, element("span", { className: "hint", text: facts }));
  }));
}

// Returns a part of a row that opens on a click, and asks for its content then; content: () -> nodes.
function onDemand(text, label, content) {
  const body = element("div", { text: "asking …" });
  const summary = element("summary", { text, label });
  const details = element("details", {}, summary, body);
  details.addEventListener("toggle", async () => {
    if (!details.open || details.dataset.asked) return;
    details.dataset.asked = "yes";
    try {
      body.replaceChildren(...(await content()));
    } catch (error) {
      body.textContent = error.message;
      delete details.dataset.asked;
    }
  });
  return details;
}

function reasons(why) {
  const list = element("dl", { className: "why" });
  const parts = [...why.parts].sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
  const rows = parts.slice(0, LARGEST).map((part) => [`“${named(part)}”`, part.share]);
  const rest = parts.slice(LARGEST);
  if (rest.length) rows.push([`${rest.length} more of the history, together`, rest.reduce((sum, part) => sum + part.share, 0)]);
  for (const [name, part] of [["independent of the history", why.baseline], ["bonus of items without interactions", why.cold]]) {
    if (part?.share) rows.push([name, part.share]);
  }
  const largest = Math.max(...rows.map(([, share]) => Math.abs(share)), 1e-9); // the bars compare parts with each other
  for (const [name, share] of rows) {
    const meter = element("meter", { min: 0, max: 1, value: Math.abs(share) / largest });
    meter.setAttribute("aria-hidden", "true");
    list.append(element("dt", { text: name }), meter, element("dd", { text: `${(share * 100).toFixed(0)} %` }));
  }
  const found = [element("p", { className: "hint", text: "Parts of the score, as shares:" }), list];
  if (why.text) found.push(element("p", { className: "hint", text: aboutText(why.text.share) }));
  return found;
}

function aboutText(share) {
  return `The text of this item alone accounts for ${(share * 100).toFixed(0)} % of the history's contribution.`;
}
