"use strict";
/* The report of a scan: the table of layers, the distribution, the recommendation, links to layers. */
(() => {
  const L = AH.layers, M = AH.metrics;
  const open = (i, precision = null) => AH.panel.open([i], {precision});
  const p = () => AH.view.now.precision;

  /* Findings: names are links. */
  for (const link of document.querySelectorAll(".layer-link[data-layer]")) link.addEventListener("click", () => {
    const i = L.find(link.dataset.layer);
    if (i !== undefined) open(i, Math.max(0, L.precisions.indexOf(link.dataset.precision)));
  });

  /* Layers. */
  const metric = (key, title = M[key].title) => ({title, about: M[key].about, number: true, value: (i) => M[key].value(i, p()), text: (i) => AH.metricText(key, i, p())});
  const field = (key, title, digits, about) => ({title, about, number: true, value: (i) => L.number(key, i, p()), text: (i) => AH.number(L.number(key, i, p()), digits)});
  const area = (i) => L.number("out_features", i) * L.number("in_features", i);
  const layers = document.getElementById("layer-table");
  layers.append(AH.el("div", {class: "tools"}, AH.el("span", {class: "tool"}, "Precision", AH.view.precisions("Precision of the table"))));
  const table = AH.layerTable(layers, {
    label: "Layers", rows: () => L.all, open,
    columns: [
      {title: "layer", value: L.name}, {title: "category", value: L.category},
      {title: "shape", value: area, text: L.shape, number: true},
      metric("alpha"), metric("alpha_ratio"), metric("drift"), metric("relative_error"),
      field("stable_rank", "stable rank", 4, "‖W‖_F² / ‖W‖₂²"), field("ks_distance", "KS", 3, "Distance of the tail from a power law"),
      {title: "tail", about: "Is there a power-law tail? clear, doubtful or none", value: (i) => L.tail(i, p()) || "–", tone: (i) => (L.tail(i, p()) ? `tail-${L.tail(i, p())}` : "soft")},
      {title: "status", value: (i) => L.word("status", i, p()), tone: (i) => (L.ok(i, p()) ? "soft" : "warn")},
    ],
    filters: [{label: "category", value: L.category}, {label: "tail", value: (i) => L.tail(i, L.reference) || "unjudged"}, {label: "status", value: (i) => (L.precisions.every((_, at) => L.ok(i, at)) ? "ok" : "not ok")},
      {label: "block", value: (i) => (L.block(i) === null ? "none" : String(L.block(i)))}],
  });
  AH.view.on(table.fill);

  /* Distribution. */
  const plot = document.getElementById("distribution-plot"), tools = document.getElementById("distribution-tools");
  let shown = "alpha_ratio", by = "precision";
  function drawDistribution() {
    AH.plot(plot, () => {
      const value = M[shown].value, dots = L.count <= 600 && by === "precision";
      const groups = by === "precision"
        ? L.precisions.map((name, at) => [name, L.all.map((i) => [i, value(i, at)]), AH.precisionColor(name, L.precisions)])
        : [...new Set(L.all.map(L.category))].sort(AH.categoryOrder).map((kind) => [kind, L.all.filter((i) => L.category(i) === kind).map((i) => [i, value(i, p())]), AH.token("accent")]);
      return {
        data: groups.map(([name, points, color]) => {
          const known = points.filter(([, v]) => Number.isFinite(v));
          const few = L.few(known.length); // points without a box, whose edges would be single layers
          return {
            type: "box", name: AH.plain(name), y: known.map(([, v]) => v), text: known.map(([i]) => AH.plain(L.name(i))), quartilemethod: "linear", boxmean: !few,
            boxpoints: dots || few ? "all" : "outliers", jitter: few ? 0 : 0.6, pointpos: 0, fillcolor: "rgba(0,0,0,0)", line: {color, width: few ? 0 : 1.6},
            marker: {color, size: few ? 7 : 4, opacity: dots && !few ? (AH.dark() ? 0.7 : 0.4) : 0.8},
            hoveron: "points+boxes", hovertemplate: "%{text}<br>%{y:.5g}<extra></extra>",
          };
        }),
        layout: {
          xaxis: AH.axis({showgrid: false}), yaxis: AH.axis({title: {text: M[shown].title + (by === "category" ? `, ${L.precisions[p()]}` : ""), standoff: 6}, zeroline: false}),
          shapes: shown === "alpha_ratio" ? [{type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: {color: AH.token("noise"), width: 1.2, dash: "dash"}}] : [],
        },
      };
    });
  }
  tools.append(
    AH.el("span", {class: "tool"}, "Value", AH.choice("Value", ["alpha", "alpha_ratio", "relative_error"].map((key) => [key, M[key].title]), shown, (key) => { shown = key; drawDistribution(); }).group),
    AH.el("span", {class: "tool"}, "One box per", AH.choice("One box per", [["precision", "precision"], ["category", "category"]], by, (key) => { by = key; drawDistribution(); }).group));
  AH.view.on(() => { if (by === "category") drawDistribution(); });
  drawDistribution();

  /* Recommendation. */
  const advice = AH.data("recommendation");
  if (advice) {
    const lines = Array.from({length: advice.layer_name.length}, (_, i) => i);
    const number = (key) => (i) => (advice[key][i] === "" ? NaN : Number(advice[key][i]));
    AH.layerTable(document.getElementById("advice-table"), {
      label: "Recommendation", rows: () => lines, page: 8,
      open: (i) => { const at = L.find(advice.layer_name[i]); if (at !== undefined) open(at, Math.max(0, L.precisions.indexOf(advice.precision[i]))); },
      columns: [
        {title: "layer", value: (i) => advice.layer_name[i]}, {title: "precision", value: (i) => advice.precision[i]},
        {title: "bits", number: true, value: number("effective_bits"), text: (i) => AH.number(number("effective_bits")(i), 4)},
        {title: "reason", value: (i) => advice.reason[i]},
      ],
      filters: [{label: "precision", value: (i) => advice.precision[i]}],
    });
  }

  /* Reproduce. */
  const copy = document.getElementById("copy-command");
  if (copy) copy.addEventListener("click", async () => {
    const text = document.getElementById("command");
    try {
      await navigator.clipboard.writeText(text.textContent);
      copy.textContent = "Copied";
    } catch { // some browsers forbid it for files
      getSelection().selectAllChildren(text);
      copy.textContent = "Selected: copy it";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 1600);
  });
  document.documentElement.dataset.ready = Math.round(performance.now()); // milliseconds since the page was opened
})();
