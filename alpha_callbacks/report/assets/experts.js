"use strict";
/* Experts: one cell per block and expert of a projection, and beside them the spread of each block. */
(() => {
  const source = AH.data("experts");
  if (!source) return;
  const L = AH.layers, canvas = document.getElementById("experts-map"), now = document.getElementById("experts-now");
  const [rowOf, columnOf, layerOf] = ["row", "expert", "layer"].map((key) => AH.unpack(source[key]));
  const kinds = [...new Set(Array.from(layerOf, L.category))].sort(AH.categoryOrder);
  const grids = new Map(kinds.map((kind) => [kind, source.rows.map(() => new Array(source.columns).fill(null))]));
  layerOf.forEach((i, at) => { grids.get(L.category(i))[rowOf[at]][columnOf[at]] = i; });

  const LEFT = 6, TEXT = 11, LEAST = 3; // pixels: margin, size of texts, width of a cell
  const tall = source.rows.length <= 20 ? 18 : source.rows.length <= 40 ? 12 : 8;
  let kind = kinds[0], place = null, cell = 0, left = 0, spread = 0;

  const value = (i) => (i === null ? NaN : AH.metrics[AH.view.now.metric].value(i, AH.view.now.precision));
  const every = (size, least, steps) => steps.find((step) => step * size >= least) || steps.at(-1);

  /** Ends of the colours: those of all projections, and of all precisions where these can be compared. */
  function ends() {
    const {metric: key, precision} = AH.view.now, metric = AH.metrics[key];
    const precisions = metric.shared ? L.precisions.map((_, at) => at) : [precision];
    return AH.ends(precisions.flatMap((p) => Array.from(layerOf, (i) => metric.value(i, p))), metric.scale);
  }

  function draw() {
    const {metric: key, precision: p} = AH.view.now, metric = AH.metrics[key], grid = grids.get(kind), colors = ends();
    const pen = canvas.getContext("2d"), scale = window.devicePixelRatio || 1;
    const font = `${TEXT}px ${getComputedStyle(document.body).fontFamily}`;
    pen.font = font;
    left = LEFT + 8 + Math.max(...source.rows.map((name) => pen.measureText(name).width));
    const room = canvas.parentElement.clientWidth;
    spread = room < 560 ? 90 : 190;
    cell = Math.min(24, Math.max(LEAST, (room - left - spread - 28) / source.columns));
    const width = left + cell * source.columns + 16 + spread + 12, high = tall * grid.length, height = high + 24;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    Object.assign(canvas.style, {width: `${width}px`, height: `${height}px`});
    pen.scale(scale, scale);
    pen.font = font;
    const gap = cell > 6 ? 1 : 0, [soft, line, hole] = ["soft", "grid", "hole"].map(AH.token);
    grid.forEach((layers, row) => layers.forEach((i, column) => {
      const v = value(i);
      if (i === null) return;
      pen.fillStyle = Number.isFinite(v) ? AH.color(metric.scale, colors ? (v - colors.low) / (colors.high - colors.low) : 0.5).fill : hole;
      pen.fillRect(left + column * cell, row * tall, cell - gap, tall - 1);
    }));
    pen.fillStyle = soft;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    const rows = every(tall, TEXT + 2, [1, 2, 5, 10, 20, 50]);
    source.rows.forEach((name, row) => { if (row % rows === 0) pen.fillText(name, left - 6, row * tall + tall / 2); });
    pen.textAlign = "left";
    const columns = every(cell, 30, [1, 2, 5, 10, 20, 50, 100, 200, 500]);
    for (let column = 0; column < source.columns; column += columns) pen.fillText(String(column), left + column * cell, high + 12);
    drawSpread(pen, grid, left + cell * source.columns + 16, high, {soft, line, metric});
    if (place && grid[place[0]][place[1]] === null) place = null;
    mark(pen);
    canvas.setAttribute("aria-label", `${metric.title} of ${kind} at ${L.precisions[p]}: blocks down, experts across. Arrow keys move, Enter opens a layer.`);
    legend(metric, colors);
  }

  /** Smallest to largest of each block, thick between its quartiles, a mark at its median. */
  function drawSpread(pen, grid, start, high, {soft, line, metric}) {
    const all = grid.flat().map(value).filter(Number.isFinite);
    if (!all.length) return;
    const low = all.reduce((a, b) => Math.min(a, b)), top = all.reduce((a, b) => Math.max(a, b));
    const x = (v) => start + (top > low ? (v - low) / (top - low) : 0.5) * spread;
    pen.fillStyle = line;
    pen.fillRect(start, high, spread, 1);
    const color = AH.categoryColor(kind);
    grid.forEach((layers, row) => {
      const found = layers.map(value).filter(Number.isFinite).sort((a, b) => a - b);
      if (!found.length) return;
      const y = row * tall + tall / 2 - 0.5, thick = Math.max(3, tall * 0.5);
      const [first, middle, third] = [0.25, 0.5, 0.75].map((share) => AH.quantile(found, share));
      pen.fillStyle = color;
      pen.fillRect(x(found[0]), y - 0.5, Math.max(1, x(found.at(-1)) - x(found[0])), 1);
      pen.globalAlpha = 0.5;
      pen.fillRect(x(first), y - thick / 2, Math.max(1, x(third) - x(first)), thick);
      pen.globalAlpha = 1;
      pen.fillStyle = AH.token("ink");
      pen.fillRect(x(middle) - 1, y - thick / 2, 2, thick);
    });
    pen.fillStyle = soft;
    pen.textAlign = "left";
    pen.fillText(metric.end(low), start, high + 12);
    pen.textAlign = "right";
    pen.fillText(metric.end(top), start + spread, high + 12);
  }

  function mark(pen) {
    if (!place) return;
    pen.strokeStyle = AH.token("ink");
    pen.lineWidth = 2;
    pen.strokeRect(left + place[1] * cell - 1, place[0] * tall - 1, cell + 1, tall + 1);
  }

  function legend(metric, colors) {
    document.getElementById("experts-legend").replaceChildren(...(colors ? [
      AH.el("span", {class: "end", text: `${metric.ends[0]}  ${metric.end(colors.low)}`}),
      AH.el("span", {class: "gradient", style: {background: AH.gradient(metric.scale)}}),
      AH.el("span", {class: "end", text: `${metric.end(colors.high)}  ${metric.ends[1]}`}),
    ] : []), AH.el("span", {class: "about", text: `${metric.title} at ${L.precisions[AH.view.now.precision]}. ${colors ? colors.remark : ""}`}));
  }

  function tell() {
    const {metric: key, precision: p} = AH.view.now;
    if (!place) { now.textContent = ""; return; }
    const i = grids.get(kind)[place[0]][place[1]];
    now.textContent = `Block ${source.rows[place[0]]}, expert ${place[1]}: ${AH.metrics[key].title} ${AH.metricText(key, i, p)}, ${L.name(i)}`;
  }

  function go(row, column) {
    const layers = grids.get(kind)[row];
    if (!layers || layers[column] === null || layers[column] === undefined) return;
    place = [row, column];
    draw();
    tell();
  }
  const under = (event) => {
    const box = canvas.getBoundingClientRect();
    return [Math.floor((event.clientY - box.top) / tall), Math.floor((event.clientX - box.left - left) / cell)];
  };
  const open = () => { if (place) AH.panel.open([grids.get(kind)[place[0]][place[1]]], {opener: canvas}); };
  canvas.addEventListener("mousemove", (event) => {
    const [row, column] = under(event);
    if (!place || row !== place[0] || column !== place[1]) go(row, column);
  });
  canvas.addEventListener("click", (event) => {
    const [row, column] = under(event);
    go(row, column);
    if (place && place[0] === row && place[1] === column) open();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0]}[event.key];
    if (step) { event.preventDefault(); place ? go(place[0] + step[0], place[1] + step[1]) : go(0, 0); }
    else if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); }
  });

  document.getElementById("experts-tools").append(
    AH.el("span", {class: "tool"}, "Projection", AH.choice("Projection", kinds.map((name) => [name, name.replace("moe_expert_", "")]), kind, (name) => { kind = name; draw(); tell(); }).group),
    AH.el("span", {class: "tool"}, "Value", AH.view.metrics("Value of the experts")),
    AH.el("span", {class: "tool"}, "Precision", AH.view.precisions("Precision of the experts")));
  AH.view.on(() => { draw(); tell(); });
  AH.onTheme(draw);
  new ResizeObserver(draw).observe(canvas.parentElement);
  tell();
})();
