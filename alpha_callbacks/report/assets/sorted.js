"use strict";
/* AH.sortedTable: rows that can be searched and sorted; AH.categoryColor: the colours of the static charts. */
(() => {
  const PAGE = 40;

  /**
   * Show a table in an element.
   * columns: {title, value(i), text(i), number, tone(i)}; the first is a name. count: rows. Sorted by `by`, largest size first.
   */
  AH.sortedTable = (element, {columns, count, by, label}) => {
    let order = {column: by, down: true}, wanted = "", most = PAGE;
    const search = AH.el("input", {type: "search", placeholder: "Filter by name", "aria-label": "Filter by name"});
    const found = AH.el("span", {class: "note", "aria-live": "polite"});
    const heads = columns.map((column, at) => {
      const button = AH.el("button", {type: "button", text: column.title, on: {click: () => {
        order = {column: at, down: order.column === at ? !order.down : Boolean(column.number)};
        fillRows();
      }}});
      return AH.el("th", {scope: "col", class: column.number ? "number" : null}, button);
    });
    const body = AH.el("tbody");
    const more = AH.el("button", {type: "button", class: "button more", on: {click: () => { most = Infinity; fillRows(); }}});
    const table = AH.el("table", {class: "sorted", "aria-label": label}, AH.el("thead", {}, AH.el("tr", {}, ...heads)), body);
    element.replaceChildren(AH.el("div", {class: "tools"}, search, found), AH.el("div", {class: "scroll"}, table), more);
    search.addEventListener("input", () => { wanted = search.value.toLowerCase(); most = PAGE; fillRows(); });

    function fillRows() {
      const {value, number} = columns[order.column];
      const rows = [...Array(count).keys()].filter((i) => String(columns[0].value(i)).toLowerCase().includes(wanted));
      const sign = order.down ? -1 : 1;
      rows.sort((i, j) => {
        const [a, b] = [value(i), value(j)];
        if (!number) return sign * String(a).localeCompare(String(b), "en", {numeric: true});
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
        return sign * (a - b);
      });
      heads.forEach((head, at) => {
        if (at === order.column) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      found.textContent = wanted ? `${rows.length} of ${AH.count(count, "layer")}` : AH.count(count, "layer");
      const cell = (column, i) => AH.el("td", {
        class: [column.number ? "number" : "", column.mono ? "mono" : "", column.tone ? column.tone(i) : ""].join(" ").trim() || null,
        text: column.text ? column.text(i) : column.value(i),
      });
      body.replaceChildren(...rows.slice(0, most).map((i) => AH.el("tr", {}, ...columns.map((column) => cell(column, i)))));
      more.hidden = rows.length <= most;
      more.textContent = `Show all ${rows.length.toLocaleString("en-US")}`;
    }
    fillRows();
  };

  const COLORS = {
    attn_q: "#0072b2", attn_k: "#56b4e9", attn_v: "#009e73", attn_o: "#332288", attn_qkv: "#0072b2", mlp_gate: "#e69f00",
    mlp_up: "#d55e00", mlp_down: "#cc79a7", mlp_gate_up: "#e69f00", moe_router: "#999933", embedding: "#882255",
    lm_head: "#4d4d4d", conv: "#117733",
  };
  const PALE = {attn_o: "#9d8df1", attn_q: "#4aa8e0", attn_qkv: "#4aa8e0", lm_head: "#b9bec6", embedding: "#cf6fa3", conv: "#55b06f"};

  /** The colour of a category; in the dark theme the darkest ones are lighter. */
  AH.categoryColor = (category) => {
    const name = category.replace("moe_expert_", "mlp_");
    return (AH.dark() && PALE[name]) || COLORS[name] || "#888888";
  };

  /** Colour keys of categories, redrawn with the theme. */
  AH.categoryKeys = (element, categories) => {
    const show = () => element.replaceChildren(...categories.map((name) =>
      AH.el("span", {class: name.startsWith("attn_") ? "round" : null, text: name})));
    const paint = () => [...element.children].forEach((key, i) => key.style.setProperty("--key", AH.categoryColor(categories[i])));
    show();
    paint();
    AH.onTheme(paint);
  };

  /** A scale of plotly's from one of the page; its middle is the card's colour where the scale diverges. */
  AH.plotlyScale = (name) => [...Array(21).keys()].map((i) => [i / 20, AH.color(name, i / 20).fill]);
})();
