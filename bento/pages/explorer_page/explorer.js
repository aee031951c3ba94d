// The explorer page: sends requests to the service and shows the answers. Text is inserted as text, never as markup.
import { ask, AnswerError } from "./ask.js";
import { showFilters, where } from "./filters.js";
import { badge, element, itemRow, fill } from "./items.js";
import { compare } from "./moves.js";
import { plot } from "./plot.js";

const SIMILAR = 5; // items that are shown as similar to one
const BRIEF = 12; // items of a history that are shown before somebody asks for all
const $ = (id) => document.getElementById(id);
const favourites = new Map(); // item_id -> title
let own = false; // whether the slider has been moved, or the released setting holds
let served = ""; // name of the served version
let drawn = []; // what the plot shows, to be drawn again at another width
let newest = 0; // number of the newest question; slower answers to older ones are dropped

const who = () => document.querySelector("input[name=who]:checked").value;
const tail = () => (own ? Number($("tail").value) : null);
const k = () => Number($("k").value);

function later(action, ms) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), ms);
  };
}

function say(text, isProblem = false) {
  $("status").textContent = text;
  $("status").classList.toggle("problem", isProblem);
}

// Returns the endpoint and body of the form's request; null if it is incomplete.
function question() {
  const filters = where($("filters"));
  const common = { k: k(), ...(tail() === null ? {} : { tail: tail() }), ...(filters ? { where: filters } : {}) };
  if (who() === "user" && $("user").value) return ["recommend", { user_id: $("user").value, ...common }];
  if (who() === "items" && favourites.size) return ["recommend_for_items", { item_ids: [...favourites.keys()], ...common }];
  if (who() === "text" && $("text").value.trim()) return ["recommend_for_text", { text: $("text").value.trim(), ...common }];
  return null;
}

async function history() {
  if (who() === "user") return ask(`history?user_id=${encodeURIComponent($("user").value)}`);
  if (who() === "items") return ask("lookup", { item_ids: [...favourites.keys()] });
  return null; // the answer to a text says which items are like it
}

async function recommend() {
  const asked = question();
  if (!asked) return say("Choose a user or favourite items, or write a text. The tail emphasis and the filters apply to that list.");
  const mine = ++newest;
  say("asking …");
  try {
    const [endpoint, { tail: emphasis, ...asReleased }] = asked;
    const compares = $("compare").checked && !$("compare-label").hidden;
    const [past, answer, released, before] = await Promise.all([
      history(), ask(...asked), emphasis === undefined ? null : ask(endpoint, asReleased),
      compares ? ask(`previous/${endpoint}`, asked[1]).catch((error) => ({ error })) : null,
    ]);
    if (mine === newest) show(asked, past, answer, released, before);
  } catch (error) {
    if (mine === newest) say(error instanceof AnswerError ? error.message : `The page failed: ${error.message}`, true);
  }
}

function show(asked, past, answer, released, before) {
  past ??= { items: answer.like ?? [], n_items: answer.like?.length ?? 0 };
  showHistory(past);
  const explained = explainer(asked);
  const { moves, words: changes } = released && !answer.fallback ? compare(answer.items, released.items) : { moves: new Map(), words: "" };
  fill($("list"), answer.items.map((item) => itemRow(item, { move: moves.get(item.item_id), explained, similar })));
  $("list-section").hidden = false;
  $("list-words").textContent = `${words(answer)} ${changes}`;
  showPrevious(answer, before);
  const strips = [[who() === "user" ? "History" : "Starting from", past.items], ["Recommended", answer.items]];
  if (before?.items) strips.push(["Previous", before.items]);
  draw(strips.filter(([, items]) => items.length));
  const unmoved = own && answer.fallback ? " The tail emphasis does not change the list of an unknown user." : "";
  say(`${answer.items.length} items from ${served || answer.model}. ${changes}${unmoved}`);
}

const similar = (item) => ask("similar_items", { item_id: item.item_id, k: SIMILAR });

function draw(strips) {
  drawn = strips;
  $("plot-section").hidden = !strips.length;
  $("plot-words").textContent = plot($("plot"), strips);
}

function showHistory(past) {
  $("history-section").hidden = false;
  $("history-title").textContent = { user: "History", items: "Favourites", text: "Items that match the text" }[who()];
  const shorter = past.items.slice(0, BRIEF);
  fill($("history"), shorter.map((item) => itemRow(item, { similar })));
  $("more").hidden = shorter.length === past.items.length;
  $("more").textContent = `Show all ${past.items.length}`;
  $("more").onclick = () => {
    fill($("history"), past.items.map((item) => itemRow(item, { similar })));
    $("more").hidden = true;
    $("history").focus();
  };
  const more = past.n_items - past.items.length;
  $("history-words").textContent = past.n_items
    ? `${past.n_items} items` + (more > 0 ? `, ${past.items.length} of them shown` : "")
    : { user: "This user has no history.", text: "No item matches the text." }[who()] ?? "";
}

function words(answer) {
  const rest = answer.items.filter((item) => item.segment !== "head").length;
  if (!answer.items.length) return "No item is left to recommend. Remove a filter, or choose another one.";
  const known = answer.fallback ? "Unknown user: these are the most popular items. " : "";
  return `${known}${rest} of ${answer.items.length} are tail items.`;
}

function showPrevious(answer, before) {
  $("previous-section").hidden = !before;
  if (!before) return;
  const now = new Set(answer.items.map((item) => item.item_id));
  const items = before.items ?? [];
  const both = items.filter((item) => now.has(item.item_id)).length;
  $("previous-words").textContent = before.error
    ? `No answer: ${before.error.message}`
    : `${before.model}: ${both} of ${items.length} are in both lists. ${words(before)}`;
  fill($("previous"), items.map((item) => itemRow(item, { move: now.has(item.item_id) ? "in both" : "only here", similar })));
}

// Returns the request of an opened "Why?", for the kinds of list with explained scores.
function explainer([endpoint, body]) {
  if (endpoint === "recommend_for_text") return null;
  const about = endpoint === "recommend" ? { user_id: body.user_id } : { item_ids: body.item_ids };
  return (item) => ask("explain", { ...about, item_id: item.item_id });
}

function chips() {
  fill($("favourites"), [...favourites].map(([id, title]) => {
    const button = element("button", { type: "button", text: `${title} ✕`, label: `Remove ${title}` });
    button.addEventListener("click", () => { favourites.delete(id); chips(); $("search").focus(); recommend(); });
    return element("li", {}, button);
  }));
}

function add(item) {
  favourites.set(item.item_id, item.title);
  $("search").value = "";
  fill($("found"), []);
  chips();
  recommend();
}

async function find() {
  const query = $("search").value.trim();
  if (!query || query.includes(",")) return fill($("found"), []);
  const { items } = await ask(`items?query=${encodeURIComponent(query)}`).catch(() => ({ items: [] }));
  if ($("search").value.trim() !== query) return;
  fill($("found"), items.slice(0, 8).map((item) => {
    const button = element("button", { type: "button" }, badge(item.segment), ` ${item.title} `);
    button.append(element("span", { className: "hint", text: item.item_id }));
    button.addEventListener("click", () => { add(item); $("search").focus(); });
    return element("li", {}, button);
  }));
}

async function paste() {
  const ids = $("search").value.split(/[\s,;]+/).filter(Boolean);
  try {
    (await ask("lookup", { item_ids: ids })).items.forEach((item) => favourites.set(item.item_id, item.title));
    $("search").value = "";
    chips();
    recommend();
  } catch (error) {
    say(error.message, true);
  }
}

async function suggestUsers() {
  const { users } = await ask(`users?query=${encodeURIComponent($("user").value)}`).catch(() => ({ users: [] }));
  fill($("users"), users.map((user) => element("option", { value: user })));
  return users;
}

function choose() {
  document.querySelectorAll(".panel").forEach((panel) => { panel.hidden = panel.dataset.who !== who(); });
  if (question()) recommend();
}

const soon = later(recommend, 150);
window.addEventListener("resize", later(() => drawn.length && draw(drawn), 150));
$("question").addEventListener("submit", (event) => { event.preventDefault(); recommend(); });
document.querySelectorAll("input[name=who]").forEach((radio) => radio.addEventListener("change", choose));
$("user").addEventListener("input", later(suggestUsers, 150));
$("user").addEventListener("change", recommend);
$("text").addEventListener("input", later(recommend, 500));
$("search").addEventListener("input", later(find, 150));
$("search").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  const first = $("found").querySelector("button");
  if (first) first.click();
  else if ($("search").value.trim()) paste();
});
["k", "compare"].forEach((id) => $(id).addEventListener("change", recommend));
$("tail").addEventListener("input", () => { own = true; tailWords(); soon(); });
$("released").addEventListener("click", () => {
  own = false;
  $("tail").value = $("tail").defaultValue;
  tailWords();
  $("tail").focus();
  recommend();
});
$("clear").addEventListener("click", () => {
  $("filters").querySelectorAll("[data-column]").forEach((control) => { control.value = ""; });
  filtered();
  $("filter-words").focus();
});

function tailWords() {
  const words = tail() === null ? "as released" : `${Math.round(tail() * 100)} % towards the tail`;
  $("tail-value").textContent = own ? words : `${words}: the setting that the release gate judged. Move the slider to change it.`;
  $("tail").setAttribute("aria-valuetext", words);
  $("released").hidden = !own;
}

function filtered() {
  const set = Object.entries(where($("filters")) ?? {}).map(([column, value]) => `${column} is ${value}`);
  $("filter-words").textContent = set.length ? `Filters: ${set.join(", ")}` : "Filters: none";
  $("clear").hidden = !set.length;
  recommend();
}

// The release, its Bento and its verdict.
function showModel(info) {
  served = info.version ? `${info.version} (${info.model})` : info.model;
  const name = element("strong", { text: info.version ?? info.model });
  const rest = `${info.version ? ` · ${info.model}` : ""} · ${info.verdict}: ${info.reason}`;
  $("model").replaceChildren(name, rest);
}

async function start() {
  tailWords();
  try {
    const [info, previous, users, { columns }] = await Promise.all([
      ask("model_info", {}), ask("previous"), suggestUsers(), ask("columns"),
    ]);
    showModel(info);
    showFilters($("filters"), columns, filtered);
    $("compare-label").hidden = !previous.available;
    if (users.length && !$("user").value) $("user").value = users[0];
    $("user-hint").textContent = `Type to search ${info.n_users.toLocaleString("en")} users; an unknown id gets the most popular items.`;
    recommend();
  } catch (error) {
    say(error.message, true);
  }
}
start();
