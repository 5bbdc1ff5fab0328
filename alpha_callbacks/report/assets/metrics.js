"use strict";
/* AH.metrics: the values that the page colours and sorts layers by; AH.view: what is shown now, and its listeners. */
AH.metrics = (() => {
  const L = AH.layers;
  const drift = (i, p) => (p === L.reference ? NaN : L.number("drift", i, p));
  const bound = (i, p) => (p === L.reference ? NaN : L.number("drift_bound", i, p));
  /** A drift in five characters. */
  const brief = (v) => (Math.abs(v) >= 1e-3 ? (v > 0 ? "+" : "−") + Math.abs(v).toFixed(Math.abs(v) < 0.1 ? 3 : 2).replace(/^0/, "") : v ? AH.signed(v, 1) : "0");
  const reference = L.precisions[L.reference];
  /** A metric of the vocabulary with the functions of this page; `text`, the value in full, has a default. */
  const metric = (key, more) => {
    const {about, digits, ...rest} = AH.words.metrics[key];
    return {...rest, about: about.replace("{reference}", reference), text: (v) => AH.number(v, digits), ...more(digits)};
  };
  const all = {
    alpha_ratio: metric("alpha_ratio", () => ({
      value: (i, p) => L.alpha(i, p) / L.number("alpha_null", i, p), short: (v) => v.toFixed(2), end: (v) => AH.number(v, 3),
    })),
    alpha: metric("alpha", () => ({value: L.alpha, short: (v) => v.toFixed(v < 100 ? 2 : 0), end: (v) => AH.number(v, 3)})),
    drift: metric("drift", (digits) => ({
      value: drift, bound, text: (v) => AH.signed(v, digits), short: brief, end: (v) => AH.signed(v, 2),
      tells: (i, p) => (p === L.reference ? "reference" : Number.isNaN(bound(i, p)) ? null : AH.bound(bound(i, p))),
    })),
    relative_error: metric("relative_error", (digits) => ({
      value: (i, p) => L.number("relative_error", i, p), text: (v) => AH.percent(v, digits), end: (v) => AH.percent(Math.max(0, v), digits),
      short: (v) => (v >= 1e-4 ? AH.percent(v, v < 0.01 ? 2 : 3, "%") : v ? AH.number(v, 1) : "0"),
    })),
  };
  const {relative_error, ...tails} = all;
  return L.lowBit.length ? {relative_error, ...tails} : all;
})();

AH.view = (() => {
  const {layers: L} = AH, listeners = [];
  const IN_ADDRESS = {relative_error: "error", alpha_ratio: "ratio"}; // short for the others' own names
  const spoken = (metric) => IN_ADDRESS[metric] || metric;
  const asked = Object.keys(AH.metrics).find((key) => [key, spoken(key)].includes(AH.state.get("v")));
  // A person who scans a low-bit format asks what it costs: its error first. Else the tails, as shapes can be compared.
  const metric = asked || (L.lowBit.length ? "relative_error" : "alpha_ratio"), p = L.precisions.indexOf(AH.state.get("p"));
  const now = {metric, precision: p >= 0 ? L.first(p) : metric === "relative_error" && L.lowBit.length ? L.lowBit.at(-1) : L.reference};
  return {
    now,
    /** Change what is shown: set({metric}) or set({precision}). */
    set(changes) {
      if ("precision" in changes) changes = {...changes, precision: L.first(changes.precision)};
      if (Object.entries(changes).every(([key, value]) => now[key] === value)) return;
      Object.assign(now, changes);
      AH.state.set({v: spoken(now.metric), p: L.precisions[now.precision]});
      for (const act of listeners) act(now);
    },
    on: (act) => listeners.push(act),
    /** Buttons for the value, in step with all others of the page. */
    metrics(label = "Value") {
      const {group, show} = AH.choice(label, Object.entries(AH.metrics).map(([key, {title, about}]) => [key, title, about]), now.metric,
        (metric) => { // the reference has neither drift nor error
          const lossy = L.distinct.filter((at) => at !== L.reference), lossless = now.precision === L.reference;
          AH.view.set(["drift", "relative_error"].includes(metric) && lossless && lossy.length ? {metric, precision: lossy.at(-1)} : {metric});
        });
      listeners.push(() => show(now.metric));
      return group;
    },
    /** Buttons for the precision, in step with all others of the page. */
    precisions(label = "Precision") {
      const {group, show} = AH.choice(label, L.distinct.map((p) => [String(p), L.named(p)]), String(now.precision),
        (value) => AH.view.set({precision: Number(value)}));
      listeners.push(() => show(String(now.precision)));
      return group;
    },
  };
})();

/** A layer's metric as text: its value, a bound, or the reason why there is none. */
AH.metricText = (key, i, p) => {
  const metric = AH.metrics[key], value = metric.value(i, p);
  if (Number.isFinite(value)) return metric.text(value);
  const told = metric.tells ? metric.tells(i, p) : null;
  return told || (AH.layers.ok(i, p) ? "–" : AH.layers.word("status", i, p));
};

/** A verdict in words, as a badge, and the stripes on the cells of tails that are not clear. */
AH.tails = {clear: "clear tail", doubtful: "doubtful tail", none: "no tail"};
AH.badge = (tail) => AH.el("span", {class: `badge badge-${tail}`, text: AH.tails[tail]});
AH.hatch = "repeating-linear-gradient(135deg, color-mix(in srgb, currentColor 30%, transparent) 0 2px, transparent 2px 6px)";
