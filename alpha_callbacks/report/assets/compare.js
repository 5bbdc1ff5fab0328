"use strict";
/* The page of a comparison: alphas against each other, the map of changes, the table. */
(() => {
  const source = AH.data("alphas");
  const numbers = Object.fromEntries(["alpha_a", "alpha_b", "null_a", "null_b", "spread", "error"].map((key) => [key, AH.unpack(source[key])]));
  const category = AH.decode(source.category), kinds = source.kinds, names = source.name, count = names.length;
  const all = [...Array(count).keys()];
  const VALUES = {
    alpha: {title: AH.words.metrics.alpha.title, a: (i) => numbers.alpha_a[i], b: (i) => numbers.alpha_b[i]},
    ratio: {title: AH.words.metrics.alpha_ratio.title, a: (i) => numbers.alpha_a[i] / numbers.null_a[i], b: (i) => numbers.alpha_b[i] / numbers.null_b[i]},
  };
  const resolved = (i) => Math.abs(numbers.alpha_b[i] - numbers.alpha_a[i]) > numbers.error[i];
  const told = (i, difference) => (resolved(i) ? difference : 0); // an unresolved change counts as none
  const delta = (i) => told(i, numbers.alpha_b[i] - numbers.alpha_a[i]);
  const deltaText = (i) => (resolved(i) ? AH.signed(delta(i), 3) : numbers.error[i] > 1e-9 ? AH.bound(numbers.error[i]) : "0");
  const hover = (i) => `<b>${AH.plain(names[i])}</b><br>A ${AH.number(numbers.alpha_a[i], 6)}, B ${AH.number(numbers.alpha_b[i], 6)}` +
    `<br>change ${deltaText(i)}`;

  const values = AH.state.choice("v", "Value", [["ratio", VALUES.ratio.title], ["alpha", VALUES.alpha.title]], "ratio", (chosen) => { value = chosen; drawScatters(); });
  let value = values.value;
  const plots = [document.getElementById("scatter-alphas"), document.getElementById("scatter-deltas")];
  AH.categoryKeys(document.getElementById("scatter-keys"), kinds);

  function points(height) {
    const {a} = VALUES[value];
    return kinds.map((kind) => {
      const mine = all.filter((i) => category(i) === kind);
      return {
        type: count > 5000 ? "scattergl" : "scatter", mode: "markers", name: kind, x: mine.map(a), y: mine.map(height),
        text: mine.map(hover), hovertemplate: "%{text}<extra></extra>",
        marker: {size: 6.5, opacity: 0.85, color: AH.categoryColor(kind),
          symbol: AH.categoryShape(kind)},
      };
    });
  }
  const line = (more) => ({type: "line", layer: "below", ...more, line: {color: AH.token("faint"), width: 1, ...more.line}});

  function drawScatters() {
    const {title, a, b} = VALUES[value];
    plots[0].setAttribute("aria-label", `${title} of B over ${title} of A`);
    plots[1].setAttribute("aria-label", `Change of ${title} over ${title} of A`);
    const change = (i) => told(i, b(i) - a(i));
    const ends = all.flatMap((i) => [a(i), b(i)]).filter(Number.isFinite);
    const [low, high] = [Math.min(...bounds(ends)), Math.max(...bounds(ends))];
    const room = 0.04 * (high - low || 1), range = [low - room, high + room];
    AH.plot(plots[0], () => ({data: points(b), layout: {
      xaxis: AH.axis({title: {text: `${title} of A`}, range}), yaxis: AH.axis({title: {text: `${title} of B`}, range}),
      shapes: [line({x0: range[0], y0: range[0], x1: range[1], y1: range[1]})],
    }}));
    const middle = AH.median(all.map(change));
    AH.plot(plots[1], () => ({data: points(change), layout: {
      xaxis: AH.axis({title: {text: `${title} of A`}, zeroline: false}), yaxis: AH.axis({title: {text: "change, B − A"}, zeroline: false, exponentformat: "power"}),
      shapes: [line({xref: "paper", x0: 0, x1: 1, y0: 0, y1: 0}),
        ...(source.few ? [] : [line({xref: "paper", x0: 0, x1: 1, y0: middle, y1: middle, line: {dash: "dash", color: AH.token("ink")}})])],
      annotations: source.few ? [] : [{xref: "paper", x: 1, y: middle, yanchor: "bottom", xanchor: "right", showarrow: false,
        bgcolor: AH.token("card"), opacity: 0.85, text: `median ${AH.signed(middle)}`}],
    }}));
  }
  function bounds(values) {
    let low = Infinity, high = -Infinity;
    for (const one of values) { low = Math.min(low, one); high = Math.max(high, one); }
    return low <= high ? [low, high] : [0, 1];
  }
  document.getElementById("scatter-tools").append(AH.el("span", {class: "tool"}, "Value", values.group));
  drawScatters();

  /* Map: one cell per block and category with the median, and one tile per layer outside blocks. */
  const SHOWN = {
    ratio: {label: `change of ${VALUES.ratio.title}`, title: "ratio B − A", of: (i) => told(i, VALUES.ratio.b(i) - VALUES.ratio.a(i))},
    change: {label: "change of alpha", title: "B − A", of: delta},
    spread: {label: "change / spread", title: "change / spread", of: (i) => delta(i) / numbers.spread[i]},
  };
  const heat = document.getElementById("compare-heat");
  const inside = all.filter((i) => source.block[i] !== null), outside = all.filter((i) => source.block[i] === null);
  const blocks = [...new Set(inside.map((i) => source.block[i]))].sort((a, b) => a - b).map(String);
  const columns = kinds.filter((kind) => inside.some((i) => category(i) === kind));
  const members = new Map();
  for (const i of inside) {
    const place = `${source.block[i]} ${category(i)}`;
    if (!members.has(place)) members.set(place, []);
    members.get(place).push(i);
  }
  const across = blocks.length > columns.length;  // blocks along x: a page is wide
  const rows = across ? columns : blocks, places = across ? blocks : columns;
  const at = (row, place) => members.get(across ? `${place} ${row}` : `${row} ${place}`) || [];
  heat.style.height = `${Math.max(170, 32 * rows.length + 74)}px`;
  heat.hidden = !inside.length;
  const several = Math.max(0, ...[...members.values()].map((mine) => mine.length));
  const tiles = outside.length ? AH.strip(document.getElementById("compare-strip"), {
    layers: outside, name: (i) => names[i], label: (i) => source.label[i], alone: !inside.length,
  }) : [];

  function drawMap(key) {
    const {title, of} = SHOWN[key];
    const z = rows.map((row) => places.map((place) => AH.median(at(row, place).map(of))));
    const {high: end, remark} = AH.ends(inside.length ? z.flat() : outside.map(of), "diverging") || {high: 1, remark: ""};
    document.getElementById("compare-note").textContent = [
      remark,
      several > 1 ? `Cells show the median of up to ${several} layers.` : "",
    ].filter(Boolean).join(" ");
    for (const {element, value, i} of tiles) {
      const change = of(i), text = key === "change" ? deltaText(i) : key === "ratio" && !resolved(i) && numbers.error[i] > 1e-9 ? AH.bound(numbers.error[i] / numbers.null_b[i]) : AH.signed(change, 3);
      const {fill, ink} = AH.color("diverging", Number.isFinite(change) ? 0.5 + change / (2 * end) : 0.5);
      Object.assign(element.style, {background: fill, color: ink});
      value.textContent = text;
      element.title = `${names[i]}: A ${AH.number(numbers.alpha_a[i], 6)}, B ${AH.number(numbers.alpha_b[i], 6)}, ${title} ${text}`;
    }
    if (!inside.length) return;
    const text = rows.map((row) => places.map((place) => {
      const mine = at(row, place);
      if (!mine.length) return "no such layer compared";
      return mine.length === 1 ? hover(mine[0]) : `${AH.count(mine.length, "layer")}, median ${AH.signed(AH.median(mine.map(of)), 3)}`;
    }));
    AH.plot(heat, () => ({
      data: [{type: "heatmap", x: places, y: rows, z, text, hovertemplate: "%{text}<extra></extra>", xgap: 1, ygap: 1, hoverongaps: false,
        zmin: -end, zmax: end, colorscale: AH.plotlyScale("diverging"), colorbar: {title: {text: title, side: "top", font: {size: 12}}, nticks: 5, thickness: 12, outlinewidth: 0, exponentformat: "power"}}],
      layout: {
        plot_bgcolor: AH.token("hole"),
        xaxis: AH.axis({type: "category", showgrid: false, title: {text: across ? "block" : ""}}),
        yaxis: AH.axis({type: "category", showgrid: false, autorange: "reversed", title: {text: across ? "" : "block"}}),
      },
    }));
  }
  const maps = AH.state.choice("map", "Value", Object.entries(SHOWN).map(([key, {label}]) => [key, label]), "ratio", drawMap);
  document.getElementById("compare-tools").append(AH.el("span", {class: "tool"}, "Value", maps.group));
  drawMap(maps.value);

  const tone = (i) => (!resolved(i) ? "" : delta(i) > 0 ? "up" : "down");
  const size = (key, of, digits, more = {}) => ({title: key, number: true, value: of, text: (i) => AH.number(of(i), digits), ...more});
  AH.layerTable(document.getElementById("compare-table"), {
    label: "Layers", rows: () => all, address: true, order: {column: 5, down: true}, page: 40,
    columns: [
      {title: "layer", value: (i) => names[i]},
      {title: "category", value: category},
      {title: "shape", value: (i) => source.shape[i]},
      size("alpha A", (i) => numbers.alpha_a[i], 6),
      size("alpha B", (i) => numbers.alpha_b[i], 6),
      size("|change|", (i) => Math.abs(delta(i)), 3),
      size("change", delta, 3, {text: deltaText, tone}),
      size("/ spread", (i) => delta(i) / numbers.spread[i], 2, {text: (i) => AH.signed(delta(i) / numbers.spread[i], 2)}),
      size("ratio A", VALUES.ratio.a, 4),
      size("ratio B", VALUES.ratio.b, 4),
      ...(source.tail.some(Boolean) ? [{title: "tail", value: (i) => source.tail[i].replaceAll(" ", "\u00a0") || "–"}] : []),
      ...source.others.flatMap(({name, alpha_a, alpha_b, moved}) => {
        const a = AH.unpack(alpha_a), b = AH.unpack(alpha_b);
        return [
          size(`${name} A`, (i) => a[i], 5), size(`${name} B`, (i) => b[i], 5),
          ...(moved.some((one) => one !== null) ? [{title: `${name} moved`, value: (i) => ({true: "yes", false: "no"})[moved[i]] || "–"}] : []),
        ];
      }),
    ],
  });
})();
