// The filters: one field per column of the items, with the column's most frequent values as suggestions.
import { element } from "./items.js";

const LONG = 30; // values; a column with more is typed, the others are chosen

// Shows the fields, and calls `changed` after a change. `segment` is always a column, so it comes first.
export function showFilters(box, columns, changed) {
  const first = columns.filter((column) => column.name === "segment");
  box.replaceChildren(...[...first, ...columns.filter((column) => column.name !== "segment")].map(field));
  box.addEventListener("change", changed);
}

function field(column, number) {
  const id = `filter-${number}`;
  const make = column.n_values > LONG ? typed : chosen;
  return element("div", { className: "filter" }, element("label", { htmlFor: id, text: column.name }), ...make(column, id));
}

function chosen(column, id) {
  const options = column.values.map(({ value, items }) => element("option", { value, text: `${value} (${items.toLocaleString("en")})` }));
  return [filterOf(element("select", { id }, element("option", { value: "", text: "any" }), ...options), column)];
}

function typed(column, id) {
  const options = column.values.map(({ value, items }) => element("option", { value, label: `${items.toLocaleString("en")} items` }));
  const list = element("datalist", { id: `${id}-values` }, ...options);
  const input = element("input", { id, maxLength: 256, placeholder: `any of ${column.n_values.toLocaleString("en")}` });
  input.setAttribute("list", list.id);
  return [filterOf(input, column), list];
}

function filterOf(control, column) {
  control.dataset.column = column.name;
  return control;
}

// Returns the request's `where`; null without a filter.
export function where(box) {
  const set = [...box.querySelectorAll("[data-column]")].filter((control) => control.value.trim());
  return set.length ? Object.fromEntries(set.map((control) => [control.dataset.column, control.value.trim()])) : null;
}
