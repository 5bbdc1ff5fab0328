"use strict";
/* AH.layerTable: layers as rows that can be searched, filtered and sorted, one page at a time. */
AH.layerTable = (element, {columns, rows, open = null, filters = [], order = null, label, page = 25, address = false}) => {
  // columns: {title, value(row), text(row), number, tone(row)}; the first is the name, and a link if there is `open(row)`.
  // filters: {label, value(row)}. order: {column, down}, null for the order of the rows. address: keep words and order there.
  let most = page;
  const sorted = address ? (AH.state.get("sort") || "").match(/^(-?)(.+)$/) : null, by = sorted ? columns.findIndex(({title}) => title === sorted[2]) : -1;
  if (by >= 0) order = {column: by, down: Boolean(sorted[1])};
  const search = AH.el("input", {type: "search", placeholder: "Filter by words of the name", "aria-label": "Filter by name", spellcheck: "false"});
  if (address) search.value = AH.state.get("find") || "";
  const found = AH.el("span", {class: "note", "aria-live": "polite"});
  const selects = filters.map((filter) => {
    const values = [...new Set(rows().map(filter.value))].sort((a, b) => a.localeCompare(b, "en", {numeric: true}));
    const select = AH.el("select", {"aria-label": filter.label}, AH.el("option", {value: "", text: `${filter.label}: all`}), ...values.map((value) => AH.el("option", {value: `=${value}`, text: value})));
    select.addEventListener("change", () => { most = page; fill(); });
    return {select, value: filter.value};
  });
  const tools = AH.el("div", {class: "tools"}, search, ...selects.filter(({select}) => select.options.length > 2).map(({select}) => select), found);
  const heads = columns.map((column, at) => {
    const button = AH.el("button", {type: "button", class: "plain", text: column.title, title: column.about || null, on: {click: () => {
      const again = order && order.column === at;
      order = again && order.down !== Boolean(column.number) ? null : {column: at, down: again ? !order.down : Boolean(column.number)};
      if (address) AH.state.set({sort: order ? `${order.down ? "-" : ""}${column.title}` : null});
      fill();
    }}});
    return AH.el("th", {scope: "col", class: column.number ? "number" : null}, button);
  });
  const longest = rows().reduce((most, row) => Math.max(most, String(columns[0].value(row)).length), 0);
  heads[0].style.minWidth = `min(${Math.min(34, longest + 2)}ch, 40vw)`; // no narrower where a table is too wide, but a phone shows more than names
  const body = AH.el("tbody");
  const more = AH.el("button", {type: "button", class: "button more", on: {click: () => {
    const first = body.children.length;
    most += most < 100 ? 75 : 1000;
    fill();
    body.children[first]?.querySelector("button")?.focus({preventScroll: true});
  }}});
  element.append(tools, AH.el("div", {class: "scroll"}, AH.el("table", {class: "layer-table", "aria-label": label}, AH.el("thead", {}, AH.el("tr", {}, ...heads)), body)), more);
  search.addEventListener("input", () => {
    most = page;
    if (address) AH.state.set({find: search.value});
    fill();
  });
  let shown = page;
  AH.onPaper(() => { shown = most; most = Infinity; fill(); }, () => { most = shown; fill(); });

  function fill() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const name = (row) => String(columns[0].value(row)).toLowerCase();
    const all = rows();
    const kept = all.filter((row) => words.every((word) => name(row).includes(word)) && selects.every(({select, value}) => !select.value || select.value === `=${value(row)}`));
    if (order) {
      const {value, number} = columns[order.column], sign = order.down ? -1 : 1;
      const keys = new Map(kept.map((row) => [row, value(row)]));
      kept.sort((one, other) => {
        const [a, b] = [keys.get(one), keys.get(other)];
        if (!number) return sign * String(a).localeCompare(String(b), "en", {numeric: true});
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // rows without a value come last
        return sign * (a - b);
      });
    }
    heads.forEach((head, at) => {
      if (order && order.column === at) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    found.textContent = kept.length === all.length ? AH.count(all.length, "layer") : `${kept.length.toLocaleString("en-US")} of ${AH.count(all.length, "layer")}`;
    body.replaceChildren(...kept.slice(0, most).map((row) => AH.el("tr", {}, ...columns.map((column, at) => {
      const text = column.text ? column.text(row) : column.value(row);
      const tone = [column.number ? "number" : "", column.tone ? column.tone(row) : ""].join(" ").trim() || null;
      if (at > 0) return AH.el("td", {class: tone, text});
      if (!open) return AH.el("td", {class: "mono"}, ...AH.breakable(text));
      return AH.el("td", {}, AH.el("button", {type: "button", class: "layer-link mono", on: {click: () => open(row)}}, ...AH.breakable(text)));
    }))));
    if (!kept.length) body.append(AH.el("tr", {}, AH.el("td", {class: "nothing", colspan: columns.length, text: "No layer matches the filter."})));
    more.hidden = kept.length <= most;
    more.textContent = `Show more (${(kept.length - Math.min(most, kept.length)).toLocaleString("en-US")} left)`;
  }
  fill();
  return {fill};
};
