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
  const share = {title: "share", about: "Of all weights of the model", number: true, value: (i) => L.number("share", i), text: (i) => AH.percent(L.number("share", i), 3)};
  const columns = [
    {title: "layer", value: L.name}, {title: "category", value: L.category},
    {title: "shape", value: (i) => L.number("out_features", i) * L.number("in_features", i), text: L.shape, number: true}, share,
  ];
  const error = metric("relative_error"); // SQNR and MB are in the table of formats
  const tails = [
    metric("alpha_ratio"), metric("alpha"), metric("drift"), ...(L.lowBit.length ? [] : [error]),
    field("stable_rank", "stable rank", 4, "‖W‖_F² / ‖W‖₂²"), field("ks_distance", "KS", 3, "Distance of the tail from a power law"),
    {title: "tail", about: "Is there a power-law tail? clear, doubtful or none", value: (i) => L.tail(i, p()) || "–", tone: (i) => (L.tail(i, p()) ? `tail-${L.tail(i, p())}` : "soft")},
    ...(L.all.every((i) => L.precisions.every((_, at) => L.ok(i, at))) ? [] : [{title: "status", value: (i) => L.word("status", i, p()), tone: (i) => (L.ok(i, p()) ? "soft" : "warn")}]),
  ];
  const filters = [{label: "category", value: L.category}, {label: "tail", value: (i) => L.tail(i, L.reference) || "unjudged"}, {label: "status", value: (i) => (L.precisions.every((_, at) => L.ok(i, at)) ? "ok" : "not ok")},
    {label: "block", value: (i) => (L.block(i) === null ? "none" : String(L.block(i)))}];
  const layers = document.getElementById("layer-table");
  layers.append(AH.el("div", {class: "tools"}, AH.el("span", {class: "tool"}, "Precision", AH.view.precisions("Precision of the table"))));
  const table = AH.layerTable(layers, {
    label: "Layers", rows: () => L.all, open, address: true, columns: L.lowBit.length ? [...columns, error, ...tails] : [...columns, ...tails],
    order: L.lowBit.length ? {column: columns.length, down: true} : null, filters,
  });
  AH.view.on(table.fill);

  /* Formats: one column each, for one value at a time. */
  const formats = document.getElementById("formats-table");
  if (formats) {
    const COSTS = {
      error: ["relative error", (i, at) => L.number("relative_error", i, at), (i, at) => AH.percent(L.number("relative_error", i, at), 3)],
      sqnr: ["SQNR, dB", L.sqnr, (i, at) => L.sqnrText(i, at)],
      mb: ["MB", L.megabytes, (i, at) => AH.number(L.megabytes(i, at), 3)],
    };
    const cost = AH.state.choice("cost", "Cost", Object.entries(COSTS).map(([key, [title]]) => [key, title]), "error", (key) => { now = key; costs.fill(); });
    let now = cost.value;
    formats.append(AH.el("div", {class: "tools"}, AH.el("span", {class: "tool"}, "Cost", cost.group)));
    const costs = AH.layerTable(formats, {
      label: "Formats", rows: () => L.all, open, page: 12, order: {column: columns.length + L.lowBit.length - 1, down: true},
      columns: [...columns, ...L.lowBit.map((at) => ({title: L.precisions[at], number: true, value: (i) => COSTS[now][1](i, at), text: (i) => COSTS[now][2](i, at)}))],
      filters: filters.slice(0, 1),
    });
  }

  /* Estimators: what one of them makes of every layer, beside Hill's. */
  const estimators = document.getElementById("estimators-table");
  if (estimators) {
    const which = AH.state.choice("estimator", "Estimator", L.estimators.map((name) => [name, name]), L.estimators[0], (name) => { one = name; fits.fill(); });
    let one = which.value;
    const fit = (i) => L.estimates(i, p()).find(([name]) => name === one) || [one, null, null, null, null, null, "not asked for"];
    const column = (title, place, digits, about) => ({title, about, number: true, value: (i) => fit(i)[place] ?? NaN, text: (i) => AH.number(fit(i)[place] ?? NaN, digits)});
    estimators.append(AH.el("div", {class: "tools"}, AH.el("span", {class: "tool"}, "Estimator", which.group), AH.el("span", {class: "tool"}, "Precision", AH.view.precisions("Precision of the estimators"))));
    const fits = AH.layerTable(estimators, {
      label: "Estimators", rows: () => L.all, open, page: 12,
      columns: [columns[0], columns[1], metric("alpha", "alpha (hill)"), column("alpha", 1, 5, "As this estimator fits it"), column("eigenvalues", 2, 6, "In its tail"),
        column("KS", 3, 3, "Distance of its tail from a power law"), column("low", 4, 4, "Lower end of the range"), column("high", 5, 4, "Upper end of the range"),
        {title: "why not", value: (i) => fit(i)[6] || "", tone: () => "soft words"}],
      filters: filters.slice(0, 2),
    });
    AH.view.on(fits.fill);
  }

  /* Distribution. */
  const plot = document.getElementById("distribution-plot"), tools = document.getElementById("distribution-tools");
  const values = Object.keys(M).filter((key) => key !== "drift").map((key) => [key, M[key].title]);
  const what = AH.state.choice("of", "Value", values, L.lowBit.length ? "relative_error" : "alpha_ratio", (key) => { shown = key; drawDistribution(); });
  const per = AH.state.choice("per", "One box per", [["precision", "precision"], ["category", "category"]], "precision", (key) => { by = key; drawDistribution(); });
  let shown = what.value, by = per.value;

  /** Precisions whose boxes cannot be told apart are one: in every layer within 1 % of what the axis spans. */
  function boxes(value) {
    const known = L.distinct.filter((at) => L.all.some((i) => Number.isFinite(value(i, at)) && (shown !== "relative_error" || value(i, at) > 0)));
    const all = known.flatMap((at) => L.all.map((i) => value(i, at))).filter(Number.isFinite);
    const span = 0.01 * (all.reduce((a, b) => Math.max(a, b), -Infinity) - all.reduce((a, b) => Math.min(a, b), Infinity));
    const groups = [];
    for (const at of known) {
      const alike = groups.find(([first]) => L.all.every((i) => Object.is(value(i, at), value(i, first)) || Math.abs(value(i, at) - value(i, first)) <= span));
      if (alike) alike.push(at);
      else groups.push([at]);
    }
    return groups;
  }
  function drawDistribution() {
    AH.plot(plot, () => {
      const value = M[shown].value, dots = L.count <= 600 && by === "precision";
      const groups = by === "precision"
        ? boxes(value).map((same) => [same.map(L.named).join(" ≈ "), L.all.map((i) => [i, value(i, same[0])]), AH.precisionColor(L.precisions[same[0]], L.precisions)])
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
          xaxis: AH.axis({showgrid: false}), yaxis: AH.axis({title: {text: M[shown].title + (by === "category" ? `, ${L.named(p())}` : ""), standoff: 6}, zeroline: false, tickformat: shown === "relative_error" ? ".2~%" : ""}),
          shapes: shown === "alpha_ratio" ? [{type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: {color: AH.token("noise"), width: 1.2, dash: "dash"}}] : [],
        },
      };
    });
  }
  tools.append(
    AH.el("span", {class: "tool"}, "Value", what.group), AH.el("span", {class: "tool"}, "One box per", per.group));
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
        {title: "reason", value: (i) => advice.reason[i], tone: () => "words"},
      ],
      filters: [{label: "precision", value: (i) => advice.precision[i]}],
    });
  }

  /* The layer of the address. */
  const asked = L.find(AH.state.get("layer"));
  if (asked !== undefined) open(asked);

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
