"use strict";
/* The page of a training run: layers x steps, a panel a category, the table. */
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
    alpha: {label: "alpha", of: (row) => row},
    ratio: {label: "alpha / noise", of: (row, i) => row.map((alpha) => alpha / noise[i])},
    change: {label: "change since the start", of: (row) => { const from = first(row); return row.map((alpha) => alpha - from); }},
  };
  let precision = 0, value = "alpha", linesValue = "alpha";
  const row = (i) => alphas[precision].subarray(i * wide, (i + 1) * wide);
  const shown = (i, key) => VALUES[key].of(row(i), i);

  /** Ends of the colours: percentiles 1 and 99 of what is there, around 0 for a change. */
  function ends(rows, around) {
    const finite = Float32Array.from(rows.flatMap((one) => [...one]).filter(Number.isFinite).map((x) => (around ? Math.abs(x) : x))).sort();
    if (!finite.length) return [0, 1];
    const at = (share) => finite[Math.round(share * (finite.length - 1))];
    if (around) { const end = at(0.99) || finite.at(-1) || 1; return [-end, end]; }
    return at(0.99) > at(0.01) ? [at(0.01), at(0.99)] : [at(0) - 0.5, at(0) + 0.5];
  }

  const heat = document.getElementById("history-heat");
  heat.style.height = `${Math.min(1500, Math.max(260, Math.ceil(count * (count > 120 ? 4.6 : 9)) + 80))}px`;
  const labels = names.map(AH.plain);
  const bands = kinds.map((kind) => all.filter((i) => category(i) === kind));
  const where = (i) => (source.block[i] === null ? "" : `, block ${source.block[i]}`);
  function drawHeat() {
    const z = all.map((i) => shown(i, value));
    const around = value === "change", [zmin, zmax] = ends(z, around);
    AH.plot(heat, () => ({
      data: [{
        type: "heatmap", x: steps.map(String), y: labels, z, zmin, zmax, hoverongaps: false,
        colorscale: AH.plotlyScale(around ? "diverging" : "sequential"),
        hovertemplate: `<b>%{y}</b><br>step %{x}: ${around ? "%{z:+.4g}" : "%{z:.5g}"}<extra></extra>`,
        colorbar: {title: {text: VALUES[value].label, side: "right"}, thickness: 12, outlinewidth: 0, exponentformat: "power"},
      }],
      layout: {
        plot_bgcolor: AH.token("hole"),
        xaxis: AH.axis({type: "category", showgrid: false, nticks: 12, tickangle: 0, title: {text: "step"}}),
        yaxis: AH.axis({type: "category", showgrid: false, autorange: "reversed", ticks: "",
          tickvals: bands.map((band) => band[(band.length - 1) >> 1]), ticktext: kinds.map(AH.plain)}),
        shapes: bands.slice(1).map((band) => ({type: "line", xref: "paper", x0: 0, x1: 1, y0: band[0] - 0.5, y1: band[0] - 0.5,
          line: {color: AH.token("card"), width: 2}})),
      },
    }));
  }

  const blocks = all.map((i) => source.block[i]).filter((block) => block !== null);
  const most = Math.max(1, ...blocks), least = Math.min(...blocks, most);
  const ink = (i) => (source.block[i] === null ? AH.token("ink")
    : AH.color("sequential", (AH.dark() ? 0.15 : 0) + 0.85 * ((source.block[i] - least) / (most - least || 1))).fill);
  const panels = kinds.map((kind) => {
    const plot = AH.el("div", {class: "plot", role: "img", "aria-label": `${kind} over the steps`});
    document.getElementById("panels").append(AH.el("div", {}, AH.el("h3", {text: kind}), plot));
    return plot;
  });
  function drawLines() {
    kinds.forEach((kind, at) => AH.plot(panels[at], () => ({
      data: bands[at].map((i) => ({
        type: "scatter", mode: wide > 12 ? "lines" : "lines+markers", x: steps, y: shown(i, linesValue), connectgaps: false,
        name: labels[i], line: {color: ink(i), width: 1.2}, marker: {size: 4, color: ink(i)},
        hovertemplate: `<b>%{fullData.name}</b>${where(i)}<br>step %{x}: %{y:.5g}<extra></extra>`,
      })),
      layout: {
        margin: {l: 46, r: 8, t: 6, b: 34},
        xaxis: AH.axis({nticks: 6, zeroline: false}), yaxis: AH.axis({nticks: 6, zeroline: linesValue === "change", exponentformat: "power"}),
      },
    })));
  }

  function fillTable() {
    const from = all.map((i) => first(row(i))), to = all.map((i) => last(row(i)));
    const gaps = all.map((i) => row(i).reduce((sum, alpha) => sum + Number.isNaN(alpha), 0));
    const moved = (i) => to[i] - from[i];
    const plainNumber = (title, of, digits) => ({title, number: true, value: of, text: (i) => AH.number(of(i), digits)});
    AH.sortedTable(document.getElementById("history-table"), {
      label: "Layers", count, by: 4,
      columns: [
        {title: "layer", value: (i) => names[i], mono: true},
        {title: "category", value: category},
        plainNumber("first alpha", (i) => from[i], 6),
        plainNumber("last alpha", (i) => to[i], 6),
        plainNumber("|change|", (i) => Math.abs(moved(i)), 3),
        {title: "change", number: true, value: moved, text: (i) => AH.signed(moved(i), 3), tone: (i) => (moved(i) > 0 ? "up" : moved(i) < 0 ? "down" : "")},
        plainNumber("last / noise", (i) => to[i] / noise[i], 4),
        plainNumber("gaps", (i) => gaps[i], 4),
      ],
    });
  }

  const options = Object.entries(VALUES).map(([key, {label}]) => [key, label]);
  const tools = document.getElementById("history-tools");
  if (source.precisions.length > 1)
    tools.append(AH.choice("Precision", source.precisions.map((name, i) => [String(i), name]), "0", (chosen) => {
      precision = Number(chosen);
      drawHeat();
      drawLines();
      fillTable();
    }).group);
  tools.append(AH.choice("Value", options, value, (chosen) => { value = chosen; drawHeat(); }).group);
  document.getElementById("lines-tools").append(
    AH.choice("Value", options, linesValue, (chosen) => { linesValue = chosen; drawLines(); }).group);
  document.getElementById("history-note").textContent = "Colours end at the 1st and 99th percentile; empty places were not measured or have no alpha.";
  drawHeat();
  drawLines();
  fillTable();
})();
