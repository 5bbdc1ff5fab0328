"use strict";
/* The map: one cell per block and category; layers outside blocks as tiles below it. */
(() => {
  const L = AH.layers, ROOMY = 35, READABLE = 29, MANY = 4; // pixels that a cell needs for its text, and without "%"; layers without quartiles
  const HATCHED = ["alpha", "alpha_ratio"]; // what a tail must be clear for
  const [heat, strip] = [document.getElementById("heat"), document.getElementById("strip")];
  const [legend, note] = [document.getElementById("map-legend"), document.getElementById("map-note")];

  const inside = L.all.filter((i) => L.block(i) !== null), outside = L.all.filter((i) => L.block(i) === null);
  const blocks = [...new Set(inside.map(L.block))].sort((a, b) => a - b);
  const kinds = [...new Set(inside.map(L.category))].sort(AH.categoryOrder);
  const members = new Map();
  for (const i of inside) {
    const place = `${L.category(i)} ${L.block(i)}`;
    if (!members.has(place)) members.set(place, []);
    members.get(place).push(i);
  }
  const several = Math.max(0, ...[...members.values()].map((mine) => mine.length)) > 1;

  /** What a cell with these layers shows: a number and its text, which screen readers read too. */
  function valueOf(mine, key, p) {
    const metric = AH.metrics[key];
    if (mine.length === 1) return {value: metric.value(mine[0], p), text: AH.metricText(key, mine[0], p)};
    const found = mine.map((i) => metric.value(i, p)).filter(Number.isFinite).sort((a, b) => a - b);
    const [low, first, value, third, high] = [0, 0.25, 0.5, 0.75, 1].map((share) => AH.quantile(found, share));
    const spread = found.length > MANY ? `, quartiles ${metric.text(first)} and ${metric.text(third)}, ${metric.text(low)} to ${metric.text(high)}` : "";
    if (found.length) return {value, text: `median ${metric.text(value)} of ${AH.count(mine.length, "layer")}${spread}`};
    return {value: NaN, text: `${AH.metricText(key, mine[0], p)} (first of ${AH.count(mine.length, "layer")})`};
  }

  /* Cells and tiles: {element, layers, where}. */
  const cells = [];
  function add(element, layers, where) {
    const cell = {element, layers, where};
    cells.push(cell);
    element.addEventListener("click", () => open(cell));
    return element;
  }
  function open(cell) {
    cell.element.focus();
    AH.panel.open(cell.layers, {title: cell.where, opener: cell.element});
  }
  AH.marked = (layers) => { // the cell of the open panel
    for (const cell of cells) cell.element.setAttribute("aria-selected", String(layers.length > 0 && layers.every((i) => cell.layers.includes(i))));
  };

  /** One stop for the Tab key; arrows, Home and End move inside; `step(at, key)` returns the next index. */
  function roving(group, elements, step) {
    elements.forEach((element, at) => {
      element.tabIndex = at === 0 ? 0 : -1;
      element.addEventListener("focus", () => { for (const other of elements) other.tabIndex = other === element ? 0 : -1; });
    });
    group.addEventListener("keydown", (event) => {
      const at = elements.indexOf(document.activeElement);
      if (at < 0) return;
      const next = step(at, event.key);
      if (next !== null) { event.preventDefault(); elements[next]?.focus(); }
      else if (event.key === "Enter" || event.key === " ") { event.preventDefault(); elements[at].click(); }
    });
  }

  function buildHeat() {
    const grid = [], elements = [];
    heat.style.setProperty("--columns", blocks.length);
    heat.style.setProperty("--names", `${Math.max(128, 16 + 7.2 * Math.max(...kinds.map((kind) => kind.length)))}px`);
    heat.setAttribute("role", "grid");
    const every = blocks.length > 40 ? (blocks.length > 90 ? 10 : 5) : 1;
    heat.append(AH.el("div", {role: "row", class: "row"}, AH.el("div", {role: "columnheader", class: "corner", text: "block"}),
      ...blocks.map((block, at) => AH.el("div", {role: "columnheader", class: "block", text: block, style: at % every ? {color: "transparent"} : {}}))));
    kinds.forEach((kind) => {
      const row = AH.el("div", {role: "row", class: "row"}, AH.el("div", {role: "rowheader", class: "kind-name", text: kind}));
      const line = [];
      for (const block of blocks) {
        const mine = members.get(`${kind} ${block}`);
        const element = mine ? add(AH.el("div", {role: "gridcell", class: "cell"}), mine, `block ${block}, ${kind}`) : AH.el("div", {role: "gridcell", class: "hole", "aria-label": `block ${block}, ${kind}: no such layer`});
        if (mine) { line.push(element); elements.push(element); }
        else line.push(null);
        row.append(element);
      }
      grid.push(line);
      heat.append(row);
    });
    const find = (row, column, down, across) => { // the next cell in a direction, over holes
      for (let r = row + down, c = column + across; grid[r] && c >= 0 && c < blocks.length; r += down, c += across) if (grid[r][c]) return elements.indexOf(grid[r][c]);
      return elements.indexOf(grid[row][column]);
    };
    roving(heat, elements, (at, key) => {
      const row = grid.findIndex((line) => line.includes(elements[at])), column = grid[row].indexOf(elements[at]);
      const step = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0]}[key];
      if (step) return find(row, column, ...step);
      const line = grid[row].filter(Boolean);
      return key === "Home" ? elements.indexOf(line[0]) : key === "End" ? elements.indexOf(line.at(-1)) : null;
    });
    new ResizeObserver(() => {
      const width = elements[0]?.offsetWidth || 0;
      heat.classList.toggle("narrow", width < ROOMY);
      heat.classList.toggle("tight", width < READABLE);
    }).observe(heat);
  }

  function buildStrip() {
    const tiles = AH.strip(strip, {layers: outside, name: L.name, label: L.label, alone: !inside.length, tag: "button"})
      .map(({i, element}) => add(element, [i], L.name(i)));
    roving(strip, tiles, (at, key) => {
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[key];
      if (step) return Math.min(tiles.length - 1, Math.max(0, at + step));
      return key === "Home" ? 0 : key === "End" ? tiles.length - 1 : null;
    });
  }

  /** Ends of the colours: the same for all precisions where they can be compared. */
  function range(key, p) {
    const metric = AH.metrics[key], drawn = cells.filter((cell) => !inside.length || cell.layers.some((i) => L.block(i) !== null));
    const precisions = metric.shared ? L.precisions.map((_, at) => at) : [p];
    return AH.ends(drawn.flatMap((cell) => precisions.map((at) => valueOf(cell.layers, key, at).value)), metric.scale);
  }

  function paint() {
    const {metric: key, precision: p} = AH.view.now, metric = AH.metrics[key], ends = range(key, p);
    for (const {element, layers, where} of cells) {
      const {value, text} = valueOf(layers, key, p), finite = Number.isFinite(value);
      const share = finite && ends ? (value - ends.low) / (ends.high - ends.low) : 0.5;
      const {fill, ink} = finite ? AH.color(metric.scale, share) : {fill: "", ink: ""};
      Object.assign(element.style, {background: fill, color: ink});
      const tails = layers.map((i) => L.tail(i, p));
      const unsure = finite && HATCHED.includes(key) && tails.every((tail) => tail === "doubtful" || tail === "none");
      element.style.backgroundImage = unsure ? AH.hatch : "";
      const known = finite || Boolean(metric.tells && metric.tells(layers[0], p) !== null);
      element.classList.toggle("lost", !known);
      element.classList.toggle("bounded", known && !finite);
      const place = element.querySelector(".outside-value");
      const short = finite ? metric.short(value) : known ? (/^[≤0]/.test(text) ? "≤" : "·") : AH.words.labels.lost;
      const [number, unit] = (place ? text : short).split(/(?=%$)/);
      (place || element).replaceChildren(unit ? AH.el("span", {}, number, AH.el("span", {class: "unit", text: unit})) : number);
      element.title = element.ariaLabel = `${where}: ${metric.title} ${text} at ${L.precisions[p]}${unsure ? (layers.length > 1 ? ", no clear tail" : `, ${AH.tails[tails[0]]}`) : ""}`;
    }
    heat.setAttribute("aria-label", `${metric.title} at ${L.precisions[p]}, categories down, blocks across`);
    legend.replaceChildren(...(ends && cells.length ? [
      AH.el("span", {class: "end", text: `${metric.ends[0]}  ${metric.end(ends.low)}`}),
      AH.el("span", {class: "gradient", style: {background: AH.gradient(metric.scale)}}),
      AH.el("span", {class: "end", text: `${metric.end(ends.high)}  ${metric.ends[1]}`}),
    ] : []), ...(HATCHED.includes(key) && L.all.some((i) => ["doubtful", "none"].includes(L.tail(i, p))) ? [AH.el("span", {class: "swatch", style: {backgroundImage: AH.hatch}}), "no clear tail"] : []),
    AH.el("span", {class: "about", text: metric.about}));
    const lost = cells.filter(({element}) => element.classList.contains("lost")).length;
    note.textContent = [
      lost ? `${AH.words.labels.lost}: no ${metric.title} for this layer; its panel gives the reason.` : "",
      cells.some(({element}) => element.classList.contains("bounded")) && key === "drift" && p !== L.reference ? `≤: not measured, ${L.surely} below this bound.` : "",
      key === "drift" && p === L.reference ? `${L.precisions[p]} is the reference for drift; choose another precision.` : "",
      several ? "Cells with several layers (experts) show their median and open a list." : "",
      ends ? ends.remark : "",
    ].filter(Boolean).join(" ");
  }

  document.getElementById("map-tools").append(
    AH.el("span", {class: "tool"}, "Value", AH.view.metrics()), AH.el("span", {class: "tool"}, "Precision", AH.view.precisions()));
  if (inside.length) buildHeat();
  if (outside.length) buildStrip();
  AH.view.on(paint);
  paint();
})();
