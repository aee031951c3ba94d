// Compares a list with the list of the released setting: symbols for the eye, words for everybody.

// Returns the move of each item, and of those that left: {moves: Map(item_id -> text), words}.
export function compare(items, released) {
  const before = new Map(released.map((item, place) => [item.item_id, place]));
  const now = new Set(items.map((item) => item.item_id));
  const moves = new Map();
  const counts = { new: 0, up: 0, down: 0 };
  items.forEach((item, place) => {
    const [kind, text] = move(before.get(item.item_id), place);
    moves.set(item.item_id, text);
    if (kind) counts[kind] += 1;
  });
  const left = released.filter((item) => !now.has(item.item_id)).map((item) => item.title || item.item_id);
  return { moves, words: words(counts, left) };
}

function move(before, place) {
  if (before === undefined) return ["new", "+ new"];
  const up = before - place;
  if (up > 0) return ["up", `↑ up ${up}`];
  return up < 0 ? ["down", `↓ down ${-up}`] : [null, "= same place"];
}

function words(counts, left) {
  const changes = Object.entries(counts).filter(([, n]) => n).map(([kind, n]) => `${n} ${kind}`);
  if (!changes.length && !left.length) return "The same list as with the released setting.";
  const gone = left.length ? ` No longer listed: ${left.slice(0, 5).join("; ")}${left.length > 5 ? `; and ${left.length - 5} more` : ""}.` : "";
  return `Compared with the released setting: ${changes.join(", ") || "no moves"}.${gone}`;
}
