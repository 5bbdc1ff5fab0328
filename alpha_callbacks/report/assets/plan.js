"use strict";
/* The plan: a map of formats, and size against error, predicted and measured. */
(() => {
  const plan = AH.data("plan");
  if (!plan) return;
  const L = AH.layers, MIXED = "several";
  const wide = (format) => ["bf16", "fp16", "fp32", "fp64"].includes(format);
  const low = plan.formats.filter((format) => !wide(format));
  const color = (format) => (wide(format) ? AH.token("hole") : AH.precisionColor(format, [...L.precisions, ...low.filter((one) => !L.precisions.includes(one))]));
  const inside = L.all.filter((i) => L.block(i) !== null), outside = L.all.filter((i) => L.block(i) === null);
  const blocks = [...new Set(inside.map(L.block))].sort((a, b) => a - b);
  const kinds = [...new Set(inside.map(L.category))].sort(AH.categoryOrder);
  const members = new Map();
  for (const i of inside) {
    const place = `${L.category(i)} ${L.block(i)}`;
    if (!members.has(place)) members.set(place, []);
    members.get(place).push(i);
  }

  function draw(view, of) {
    const format = AH.decode(of.format);
    const [legend, map, note] = [".plan-legend", ".plan-map", ".plan-outside"].map((one) => view.querySelector(one));
    const share = new Map();
    for (const i of L.all) if (format(i)) share.set(format(i), (share.get(format(i)) || 0) + L.number("out_features", i) * L.number("in_features", i));
    const all = [...share.values()].reduce((sum, each) => sum + each, 0) || 1;
    legend.replaceChildren(...plan.formats.filter((one) => share.has(one)).map((one) =>
      AH.el("span", {class: "plan-key"}, AH.el("span", {class: "plan-swatch", style: {background: color(one)}}), `${one} (${AH.percent(share.get(one) / all, 3)} of the weights)`)));
    map.style.setProperty("--columns", blocks.length);
    const every = blocks.length > 40 ? 10 : blocks.length > 20 ? 5 : 1;
    const head = AH.el("div", {class: "row"}, AH.el("div", {class: "plan-kind", text: "block"}),
      ...blocks.map((block, at) => AH.el("div", {class: "plan-block", text: at % every ? "" : String(block)})));
    map.replaceChildren(...(inside.length ? [head] : []), ...kinds.map((kind) => AH.el("div", {class: "row"}, AH.el("div", {class: "plan-kind", text: kind}), ...blocks.map((block) => {
      const mine = members.get(`${kind} ${block}`) || [], used = [...new Set(mine.map(format).filter(Boolean))];
      if (!used.length) return AH.el("div", {class: "plan-cell none", title: `block ${block}, ${kind}: not in the plan`});
      const what = used.length > 1 ? `${MIXED}: ${used.join(", ")}` : used[0];
      const cell = AH.el("div", {class: "plan-cell", title: `block ${block}, ${kind}: ${what}`, style: {background: color(used[0])}});
      if (used.length > 1) cell.style.backgroundImage = AH.hatch;
      cell.addEventListener("click", () => AH.panel.open(mine, {title: `block ${block}, ${kind}`, precision: Math.max(0, L.precisions.indexOf(used[0]))}));
      return cell;
    }))));
    const others = outside.filter((i) => format(i));
    note.textContent = others.length ? `Outside blocks: ${others.slice(0, 12).map((i) => `${L.name(i)} ${format(i)}`).join(", ")}${others.length > 12 ? `, and ${others.length - 12} more` : ""}.` : "";
  }
  const views = [...document.querySelectorAll(".plan-view")];
  const paint = () => views.forEach((view, at) => draw(view, plan.plans[at]));
  paint();
  AH.onTheme(paint);
  if (views.length > 1) {
    const labels = plan.plans.map(({name}) => [name, name === "plan" ? "plan.json" : `${name.replace("plan_", "")} bits`]);
    document.getElementById("plan-tools").append(AH.el("span", {class: "tool"}, "Plan", AH.choice("Plan", labels, plan.plans[0].name, (name) => {
      for (const view of views) view.hidden = view.dataset.plan !== name;
    }).group));
  }

  /* Size against error. */
  const bits = (more) => AH.axis({type: "log", title: {text: "bits per weight", standoff: 6}, tickvals: [2, 3, 4, 4.5, 5, 6, 8, 12, 16], ticktext: ["2", "3", "4", "4.5", "5", "6", "8", "12", "16"], ...more});
  const lines = () => plan.plans.filter((one) => one.bits).map(({bits: at}) => ({type: "line", x0: at, x1: at, yref: "paper", y0: 0, y1: 1, line: {color: AH.token("soft"), width: 1, dash: "dot"}}));
  const finest = Math.max(0, ...plan.curve.filter(([policy]) => policy === "uniform").map(([, at]) => at), ...plan.plans.map((one) => one.bits || 0)) * 1.05;
  const shown = plan.curve.filter(([, at, , error]) => error > 0 && (!finest || at <= finest));
  const range = () => {
    const all = [...shown.map(([, at]) => at), ...plan.scores.map(([, at]) => at), ...plan.plans.map((one) => one.bits).filter(Boolean)];
    return [Math.log10(Math.min(...all) / 1.06), Math.log10(Math.max(...all) * 1.06)];
  };
  const text = ([policy, at, bytes, error, mark]) => AH.plain(`${policy === "uniform" ? mark : policy}${mark && policy !== "uniform" ? ` (${mark})` : ""}: ${AH.number(at, 4)} bits, ${AH.number(bytes / 1e9, 3)} GB, error ${AH.number(error, 3)}`);
  /** Ticks of a log axis at 1, 2 and 5, written out: plotly writes a bare "2" for 0.2. */
  const logarithmic = (title) => {
    const values = [-6, -5, -4, -3, -2, -1, 0, 1].flatMap((power) => [1, 2, 5].map((step) => Number(`${step}e${power}`)));
    return AH.axis({type: "log", title: {text: title, standoff: 6}, tickvals: values, ticktext: values.map((value) => AH.number(value, 1))});
  };
  const beside = (at) => (at ? "bottom left" : "top right"); // the coarsest format stands at the edge
  const curve = document.getElementById("plan-curve");
  if (curve) AH.plot(curve, () => {
    const policies = [...new Set(shown.map(([policy]) => policy))].reverse(); // the one that decided lies on top
    const trace = (points, more) => ({x: points.map((one) => one[1]), y: points.map((one) => one[3]), text: points.map(text), hovertemplate: "%{text}<extra></extra>", ...more});
    return {
      data: policies.flatMap((policy) => {
        const mine = shown.filter((one) => one[0] === policy), ink = policy === "uniform" ? AH.token("soft") : AH.themed(plan.colors[policy] || AH.token("soft"));
        const name = policy === "uniform" ? "one format" : policy;
        if (policy === "uniform" || policy === "thresholds") return [trace(mine, {name, cliponaxis: false, mode: policy === "uniform" ? "markers+text" : "markers", textposition: mine.map((_, at) => beside(at)), marker: {color: ink, size: 9, symbol: policy === "uniform" ? "square" : "triangle-up"}, ...(policy === "uniform" ? {text: mine.map((one) => AH.plain(one[4])), hovertext: mine.map(text), hovertemplate: "%{hovertext}<extra></extra>"} : {})})];
        const line = mine.filter(([, , , , mark]) => !mark || mark === "knee"), marked = mine.filter(([, , , , mark]) => mark);
        return [trace(line, {name, mode: "lines", line: {color: ink, width: 2}}),
          trace(marked, {name, showlegend: false, mode: "markers", marker: {color: marked.map((one) => (one[4] === "knee" ? ink : AH.token("card"))), line: {color: ink, width: 1.6}, size: 9, symbol: marked.map((one) => (one[4] === "knee" ? "diamond" : "circle"))}})];
      }),
      layout: {showlegend: true, legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0}, margin: {l: 60, r: 14, t: 30, b: 46}, shapes: lines(), xaxis: bits({range: range()}), yaxis: logarithmic("predicted error")},
    };
  });
  const scores = document.getElementById("plan-scores");
  if (scores) AH.plot(scores, () => {
    const group = (name) => (name.startsWith("random ") ? "random" : name.startsWith("uniform ") ? "uniform" : "plan");
    const looks = {random: {color: AH.token("faint"), size: 5, symbol: "circle"}, uniform: {color: AH.token("soft"), size: 9, symbol: "square"}, plan: {color: AH.token("ink"), size: 10, symbol: "circle"}};
    return {
      data: ["random", "uniform", "plan"].map((kind) => {
        const mine = plan.scores.filter(([name]) => group(name) === kind);
        const labels = mine.map(([name]) => AH.plain(name.replace("uniform ", "").replace("plan_", "")));
        return {
          name: {random: "random plans", uniform: "one format", plan: "plans"}[kind], x: mine.map((one) => one[1]), y: mine.map((one) => one[2]),
          cliponaxis: false, mode: kind === "random" ? "markers" : "markers+text", text: labels, textposition: kind === "plan" ? "top right" : mine.map((_, at) => beside(at)), marker: looks[kind],
          error_y: kind === "random" ? {visible: false} : {type: "data", array: mine.map((one) => 1.96 * one[3]), color: looks[kind].color, thickness: 1.2},
          hovertext: mine.map(([name, at, kl, sem]) => AH.plain(`${name}: ${AH.number(at, 4)} bits, KL ${AH.number(kl, 4)} ± ${AH.number(sem, 2)}`)), hovertemplate: "%{hovertext}<extra></extra>",
        };
      }),
      layout: {showlegend: true, legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0}, margin: {l: 60, r: 14, t: 30, b: 46}, shapes: lines(), xaxis: bits({range: range()}), yaxis: logarithmic("KL (nats per token)")},
    };
  });
})();
