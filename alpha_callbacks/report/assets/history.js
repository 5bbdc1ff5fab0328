"use strict";
/* The page of a training run: layers x steps, one panel per category, the table. */
(() => {
  const source = AH.data("map");
  const names = source.name, steps = source.steps, count = names.length, wide = steps.length;
  const category = AH.decode(source.category), noise = AH.unpack(source.alpha_null);
  const alphas = source.alpha.map(AH.unpack);
  const all = [...Array(count).keys()];
  const kinds = [...new Set(all.map(category))];
  const first = (row) => row.find((alpha) => !Number.isNaN(alpha)) ?? NaN;
  const last = (row) => row.findLast((alpha) => !Number.isNaN(alpha)) ?? NaN;

  const VALUES = {
    alpha: {label: AH.words.metrics.alpha.title, of: (row) => row},
    ratio: {label: AH.words.metrics.alpha_ratio.title, of: (row, i) => row.map((alpha) => alpha / noise[i])},
    change: {label: AH.words.metrics.change.title, of: (row) => { const from = first(row); return row.map((alpha) => alpha - from); }},
  };
  // Of weights that were trained before, the change says more than the value.
  const usual = source.trained && wide > 1 ? "change" : "ratio";
  const options = ["ratio", "alpha", "change"].map((key) => [key, VALUES[key].label]);
  const choices = {
    precision: AH.state.choice("p", source.by_hill < source.precisions.length ? "Alpha at" : "Precision", source.precisions.map((name) => [name, name]), source.precisions[0], (chosen) => {
      precision = source.precisions.indexOf(chosen);
      drawHeat();
      drawLines();
      table.fill();
    }),
    value: AH.state.choice("v", "Value", options, usual, (chosen) => { value = chosen; drawHeat(); }),
    lines: AH.state.choice("lines", "Value", options, usual, (chosen) => { linesValue = chosen; drawLines(); }),
    steps: AH.state.choice("steps", "Steps", [["even", "even"], ["log", "logarithmic"]], logarithmic() ? "log" : "even", (chosen) => { scale = chosen; drawLines(); }),
  };
  let precision = source.precisions.indexOf(choices.precision.value), value = choices.value.value;
  let linesValue = choices.lines.value, scale = choices.steps.value;

  /** True if the gaps between states grow as steps 1, 2, 4, 8 do: on an even axis, all but the last would be one. */
  function logarithmic() {
    const gaps = steps.slice(1).map((step, at) => step - steps[at]);
    return gaps.length >= 4 && AH.median(gaps.slice(Math.ceil(gaps.length / 2))) > 3 * AH.median(gaps.slice(0, Math.floor(gaps.length / 2)));
  }
  const earliest = Math.min(1e9, ...steps.filter((step) => step > 0), ...Object.values(source.losses).flatMap(([at]) => at.filter((step) => step > 0)));
  const place = (step) => (scale === "log" ? Math.max(step, earliest / 2) : step); // a logarithm has no place for step 0
  function stepAxis() {
    const ends = [place(steps[0]), place(steps.at(-1))], range = wide < 2 ? undefined : scale === "log" ? ends.map(Math.log10) : ends;
    if (scale !== "log") return AH.axis({nticks: 6, zeroline: false, range});
    const near = steps.filter((_, at) => at % Math.ceil(steps.length / 7) === 0);
    return AH.axis({type: "log", range, zeroline: false, tickvals: near.map(place), ticktext: near.map(String), tickangle: 0});
  }
  const row = (i) => alphas[precision].subarray(i * wide, (i + 1) * wide);
  const byHill = () => precision < source.by_hill; // the noise value is that of alpha-Hill
  const used = (key) => (key === "ratio" && !byHill() ? "alpha" : key);
  const shown = (i, key) => VALUES[used(key)].of(row(i), i);

  /* Rows: those labelled with a number may be thin, those labelled with a name are as high as the name if there is room. */
  const LINE = 15, TALL = 1500, THIN = 4.6; // pixels
  const heat = document.getElementById("history-heat");
  const labels = source.label.map(AH.plain), full = names.map(AH.plain);
  const named = (i) => source.label[i] !== String(source.block[i]);
  const thin = Math.max(THIN, Math.min(LINE, TALL / count)), high = Math.max(thin, Math.min(LINE, TALL / all.filter(named).length));
  const edges = all.reduce((tops, i) => [...tops, tops[i] + (named(i) ? high : thin)], [0]);
  const middle = (i) => (edges[i] + edges[i + 1]) / 2;
  const room = Math.max(90, Math.ceil(edges[count]));
  heat.style.height = `${room + 80}px`;
  const bands = kinds.map((kind) => all.filter((i) => category(i) === kind));
  const begins = new Set(bands.map((band) => band[0]));
  const where = (i) => (source.block[i] === null ? "" : `, block ${source.block[i]}`);

  /** Rows that get a label without overlaps: names first, then rows that begin a category, then others. */
  const labelled = [];
  for (const i of [...all.filter(named), ...begins, ...all])
    if (labelled.every((other) => Math.abs(middle(i) - middle(other)) >= LINE - 3)) labelled.push(i);
  function rowText(i) {
    if (!begins.has(i)) return labels[i];
    const kind = AH.plain(category(i));
    return source.label[i] === category(i) ? `<b>${kind}</b>` : `<b>${kind}</b>  ${labels[i]}`;
  }

  function drawHeat() {
    const z = all.map((i) => shown(i, value));
    const around = value === "change", scale = around ? "diverging" : "sequential";
    const {low: zmin, high: zmax, remark} = AH.ends(z.flatMap((one) => [...one]), scale) || {low: -1, high: 1, remark: ""};
    document.getElementById("history-note").textContent = `${used(value) === value ? "" : "Other estimators have no noise value, so alpha is shown. "}${remark} Empty cells were not measured or have no alpha.`.trim();
    AH.plot(heat, () => ({
      data: [{
        type: "heatmap", x: steps.map(String), y: edges, z, zmin, zmax, hoverongaps: false,
        text: all.map((i) => Array(wide).fill(full[i])),
        colorscale: AH.plotlyScale(scale),
        hovertemplate: `<b>%{text}</b><br>step %{x}: ${around ? "%{z:+.4g}" : "%{z:.5g}"}<extra></extra>`,
        colorbar: {title: {text: VALUES[used(value)].label, side: "right"}, thickness: 12, outlinewidth: 0, exponentformat: "power", lenmode: "pixels", len: Math.min(room, 420), y: 1, yanchor: "top"},
      }],
      layout: {
        plot_bgcolor: AH.token("hole"),
        xaxis: AH.axis({type: "category", showgrid: false, nticks: 12, tickangle: 0, title: {text: "step"}}),
        yaxis: AH.axis({showgrid: false, zeroline: false, range: [edges[count], 0], ticks: "",
          tickvals: labelled.map(middle), ticktext: labelled.map(rowText)}),
        shapes: bands.slice(1).map((band) => ({type: "line", xref: "paper", x0: 0, x1: 1, y0: edges[band[0]], y1: edges[band[0]],
          line: {color: AH.token("card"), width: 2}})),
      },
    }));
  }

  const blocks = all.map((i) => source.block[i]).filter((block) => block !== null);
  const most = Math.max(1, ...blocks), least = Math.min(...blocks, most);
  /* Each layer outside blocks has its own colour; if there are many, the last ones share one. */
  const OUTSIDE = ["var(--ink)", ...AH.words.outside, "var(--faint)"];
  const outside = bands.map((band) => band.filter((i) => source.block[i] === null));
  const own = new Map(outside.flatMap((mine) => mine.map((i, at) => [i, OUTSIDE[Math.min(at, OUTSIDE.length - 1)]])));
  const resolved = (color) => (color.startsWith("var(--") ? AH.token(color.slice(6, -1)) : color);
  const ink = (i) => (own.has(i) ? resolved(own.get(i))
    : AH.color("sequential", (AH.dark() ? 0.3 : 0) + (AH.dark() ? 0.7 : 0.85) * ((source.block[i] - least) / (most - least || 1))).fill);
  function keysOf(kind, mine) {
    if (!mine.length || (mine.length === 1 && source.label[mine[0]] === kind)) return null; // its name is the heading
    const told = mine.slice(0, OUTSIDE.length - 1).map((i) => AH.key(source.label[i], own.get(i), {title: names[i]}));
    const rest = mine.length - told.length;
    return AH.el("div", {class: "keys"}, ...told, rest ? AH.key(`${rest} more`, OUTSIDE.at(-1)) : null);
  }
  function panel(title, keys) {
    const plot = AH.el("div", {class: "plot", role: "img", "aria-label": `${title} over the steps`});
    document.getElementById("panels").append(AH.el("div", {}, AH.el("h3", {text: title}), plot, keys));
    return plot;
  }
  const losses = Object.entries(source.losses), LOSS = ["tail", "data", "noise", "up", "down"];
  const lossColor = (at) => LOSS[at % LOSS.length];
  const lossPanel = losses.length ? panel("loss", losses.length > 1 ? AH.el("div", {class: "keys"}, ...losses.map(([name], at) => AH.key(name, `var(--${lossColor(at)})`))) : null) : null;
  const panels = kinds.map((kind, at) => panel(kind, keysOf(kind, outside[at])));
  function drawLines() {
    kinds.forEach((kind, at) => AH.plot(panels[at], () => ({
      data: [...bands[at]].reverse().map((i) => ({ // the first layers, which have names below the panel, on top
        type: "scatter", mode: wide > 12 ? "lines" : "lines+markers", x: steps.map(place), y: shown(i, linesValue), connectgaps: false, customdata: steps,
        name: full[i], line: {color: ink(i), width: 1.2}, marker: {size: 4, color: ink(i)},
        hovertemplate: `<b>%{fullData.name}</b>${where(i)}<br>step %{customdata}: %{y:.5g}<extra></extra>`,
      })),
      layout: {
        margin: {l: 46, r: 8, t: 6, b: 34},
        xaxis: stepAxis(), yaxis: AH.axis({nticks: 6, zeroline: linesValue === "change", exponentformat: "power"}),
      },
    })));
    if (lossPanel) AH.plot(lossPanel, () => ({
      data: losses.map(([name, [at, loss]], i) => ({
        type: "scatter", mode: at.length > 40 ? "lines" : "lines+markers", x: at.map(place), y: loss, name: AH.plain(name), customdata: at,
        line: {color: AH.token(lossColor(i)), width: 1.4}, marker: {size: 4}, hovertemplate: `<b>%{fullData.name}</b><br>step %{customdata}: %{y:.5g}<extra></extra>`,
      })),
      layout: {margin: {l: 46, r: 8, t: 6, b: 34}, xaxis: stepAxis(), yaxis: AH.axis({nticks: 6, zeroline: false})},
    }));
  }

  const from = (i) => first(row(i)), to = (i) => last(row(i)), moved = (i) => to(i) - from(i);
  const size = (title, of, digits) => ({title, number: true, value: of, text: (i) => AH.number(of(i), digits)});
  const table = AH.layerTable(document.getElementById("history-table"), {
    label: "Layers", rows: () => all, address: true, order: {column: 4, down: true}, page: 40,
    columns: [
      {title: "layer", value: (i) => names[i]},
      {title: "category", value: category},
      size("first alpha", from, 6),
      size("last alpha", to, 6),
      size("|change|", (i) => Math.abs(moved(i)), 3),
      {title: "change", number: true, value: moved, text: (i) => AH.signed(moved(i), 3), tone: (i) => (moved(i) > 0 ? "up" : moved(i) < 0 ? "down" : "")},
      size("last / noise", (i) => (byHill() ? to(i) / noise[i] : NaN), 4),
      ...(source.tail.some(Boolean) ? [{title: "last tail", value: (i) => source.tail[i] || "–"}] : []),
      size("gaps", (i) => row(i).reduce((sum, alpha) => sum + Number.isNaN(alpha), 0), 4),
    ],
  });

  const tool = (label, {group}) => AH.el("span", {class: "tool"}, label, group);
  document.getElementById("history-tools").append(...[
    source.precisions.length > 1 ? tool(source.by_hill < source.precisions.length ? "Alpha at" : "Precision", choices.precision) : null, tool("Value", choices.value)].filter(Boolean));
  document.getElementById("lines-tools").append(tool("Value", choices.lines), tool("Steps", choices.steps));
  drawHeat();
  drawLines();
})();
