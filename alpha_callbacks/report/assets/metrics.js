"use strict";
/* AH.metrics: the values of a layer that the page colours and sorts by; AH.view: what is shown now, and who wants to know. */
AH.metrics = (() => {
  const L = AH.layers;
  const drift = (i, p) => (p === L.reference ? NaN : L.number("drift", i, p));
  const bound = (i, p) => (p === L.reference ? NaN : L.number("drift_bound", i, p));
  /** A bound rounded up to two digits, so that the statement stays true. */
  function atMost(value) {
    const unit = 10 ** (Math.floor(Math.log10(value)) - 1);
    return value > 0 ? `≤ ${AH.number(Math.ceil(value / unit - 1e-9) * unit, 2)}` : "0";
  }
  /** A drift in five characters. */
  const brief = (v) => (Math.abs(v) >= 1e-3 ? (v > 0 ? "+" : "−") + Math.abs(v).toFixed(Math.abs(v) < 0.1 ? 3 : 2).replace(/^0/, "") : v ? AH.signed(v, 1) : "0");
  const reference = L.precisions[L.reference];
  return {
    alpha: {
      title: "alpha", scale: "sequential", shared: true, value: L.alpha, text: (v) => AH.number(v, 6), short: (v) => v.toFixed(v < 100 ? 2 : 0), end: (v) => AH.number(v, 3),
      about: "Tail exponent. Smaller: heavier tail. Compare layers of one shape only.", ends: ["heavier tail", "lighter tail"],
    },
    alpha_ratio: {
      title: "alpha / noise", scale: "sequential", shared: true, value: (i, p) => L.alpha(i, p) / L.number("alpha_null", i, p),
      text: (v) => AH.number(v, 4), short: (v) => v.toFixed(2), end: (v) => AH.number(v, 3),
      about: "alpha over alpha of pure noise of the same shape. 1: like noise. Smaller: heavier tail.", ends: ["heavier tail", "noise"],
    },
    drift: {
      title: "drift", scale: "diverging", value: drift, bound, text: (v) => AH.signed(v, 3), short: brief, end: (v) => AH.signed(v, 2),
      tells: (i, p) => (p === L.reference ? "reference" : Number.isNaN(bound(i, p)) ? null : atMost(bound(i, p))),
      about: `alpha minus alpha at ${reference}.`, ends: ["alpha falls", "alpha rises"],
    },
    relative_error: {
      title: "relative error", scale: "error", value: (i, p) => L.number("relative_error", i, p),
      text: (v) => (v >= 1e-4 ? `${AH.number(100 * v, 3)} %` : AH.number(v, 3)),
      short: (v) => (v >= 1e-4 ? `${AH.number(100 * v, 2)}%` : v ? AH.number(v, 1) : "0"), end: (v) => (v >= 1e-4 ? `${AH.number(100 * v, 3)} %` : AH.number(v, 2)),
      about: "How much rounding changes the weights: ‖W − Q(W)‖ / ‖W‖.", ends: ["small", "large"],
    },
  };
})();

AH.view = (() => {
  const listeners = [];
  const now = {metric: "alpha", precision: AH.layers.reference};
  return {
    now,
    /** Change what is shown: set({metric}) or set({precision}). */
    set(changes) {
      if (Object.entries(changes).every(([key, value]) => now[key] === value)) return;
      Object.assign(now, changes);
      for (const act of listeners) act(now);
    },
    on: (act) => listeners.push(act),
    /** Buttons for the precision, kept in step with all others. */
    precisions(label = "Precision") {
      const {group, show} = AH.choice(label, AH.layers.precisions.map((name, p) => [String(p), name]), String(now.precision),
        (value) => AH.view.set({precision: Number(value)}));
      listeners.push(() => show(String(now.precision)));
      return group;
    },
  };
})();

/** Text of a metric of a layer: its value, a bound, or why there is none. */
AH.metricText = (key, i, p) => {
  const metric = AH.metrics[key], value = metric.value(i, p);
  if (Number.isFinite(value)) return metric.text(value);
  const told = metric.tells ? metric.tells(i, p) : null;
  return told || (AH.layers.ok(i, p) ? "–" : AH.layers.word("status", i, p));
};
