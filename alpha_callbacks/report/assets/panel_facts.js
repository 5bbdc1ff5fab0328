"use strict";
/* The numbers in the panel of a layer: AH.layerFacts (headline and bars) and AH.layerNumbers (every field). */
(() => {
  const L = AH.layers;
  const tile = (value, what, tone) => AH.el("div", {class: "tile"}, AH.el("div", {class: tone ? "value warn" : "value", text: value}), AH.el("div", {class: "what", text: what}));

  AH.layerFacts = (i, p) => {
    const at = (key, digits = 4) => AH.number(L.number(key, i, p), digits), ok = L.ok(i, p);
    const ratio = AH.metrics.alpha_ratio.value(i, p);
    const reason = L.word("reason", i, p);
    const lost = ok ? null : AH.el("p", {class: "banner", role: "note"}, AH.el("strong", {text: L.word("status", i, p)}), `: ${reason || "no alpha"}`);
    const tail = L.tail(i, p), why = L.word("tail_reason", i, p);
    const verdict = tail && tail !== "clear" ? AH.el("p", {class: "verdict", role: "note"}, AH.badge(tail), ` ${why}`) : null;
    const tiles = [
      tile(ok ? AH.number(L.number("alpha", i, p), 5) : "–", ok ? `alpha ± ${at("alpha_spread", 2)} (spread by noise)` : "alpha"),
      tile(AH.number(ratio, 3), `of noise, which has alpha ${AH.number(L.number("alpha_null", i), 4)}`, ratio > 0.9),
      tile(AH.metricText("drift", i, p), p === L.reference ? "reference for drift" : `drift from ${L.precisions[L.reference]}`),
      tile(AH.metricText("relative_error", i, p), "relative error"),
    ];
    return [lost, verdict, AH.el("div", {class: "tiles panel-tiles"}, ...tiles), fits(i, p), AH.el("h3", {class: "below", text: "alpha at each precision"}), bars(i, p)].filter(Boolean);
  };

  /** What other estimators make of the same eigenvalues, where they were asked for. */
  function fits(i, p) {
    const found = L.estimates(i, p);
    if (!found.length) return null;
    const cell = (value, digits) => AH.el("td", {class: "number", text: value === null ? "–" : AH.number(value, digits)});
    const row = ([name, alpha, count, distance, low, high, reason]) => AH.el("tr", {title: reason || null},
      AH.el("th", {scope: "row", text: name}), cell(alpha, 5), cell(count, 6), cell(distance, 3),
      AH.el("td", {class: "number soft", text: low === null ? (reason ? "no fit" : "") : `${AH.number(low, 3)} to ${AH.number(high, 3)}`}));
    const hill = ["hill", L.ok(i, p) ? L.number("alpha", i, p) : null, L.number("k_used", i, p), L.ok(i, p) ? L.number("ks_distance", i, p) : null, null, null, ""];
    return AH.el("div", {}, AH.el("h3", {class: "below", text: "Estimators"}), AH.el("table", {class: "fits"},
      AH.el("thead", {}, AH.el("tr", {}, ...["estimator", "alpha", "eigenvalues", "KS", "range"].map((text, at) => AH.el("th", {scope: "col", class: at ? "number" : null, text})))),
      AH.el("tbody", {}, ...[hill, ...found].map(row))));
  }

  /** One bar per precision from 0, the value of noise as a line, and the drift as text. */
  function bars(i, chosen) {
    const noise = L.number("alpha_null", i);
    const alphas = L.precisions.map((_, p) => L.alpha(i, p)), top = Math.max(...[...alphas, noise].filter(Number.isFinite), 0) || 1;
    const row = (p) => {
      const alpha = alphas[p], known = Number.isFinite(alpha);
      return AH.el("tr", {class: p === chosen ? "chosen" : null},
        AH.el("th", {scope: "row"}, AH.el("button", {type: "button", class: "plain", text: L.named(p), title: `Show ${L.named(p)}`, "aria-pressed": String(p === chosen), on: {click: () => choose(p)}})),
        AH.el("td", {class: "track"}, AH.el("div", {class: "bar", style: {width: `${known ? (100 * alpha) / top : 0}%`, background: AH.precisionColor(L.precisions[p], L.precisions)}}),
          Number.isFinite(noise) ? AH.el("div", {class: "noise-mark", style: {left: `${(100 * noise) / top}%`}}) : null),
        AH.el("td", {class: "number", text: known ? alpha.toPrecision(AH.words.metrics.alpha.digits) : L.word("status", i, p)}),
        AH.el("td", {class: "number soft", text: known ? AH.metricText("drift", i, p) : ""}));
    };
    return AH.el("table", {class: "bars"}, AH.el("thead", {}, AH.el("tr", {}, ...["precision", "", "alpha", "drift"].map((text, at) => AH.el("th", {scope: "col", class: at > 1 ? "number" : null}, at === 1 ? AH.el("span", {class: "noise-key", text: AH.words.labels.noise}) : text)))),
      AH.el("tbody", {}, ...L.distinct.map((p) => row(p))));
  }
  function choose(p) {
    AH.view.set({precision: p});
    document.querySelector("#panel .bars .chosen button")?.focus(); // the table was rebuilt
  }

  const size = (key, digits = 4) => (i, p) => AH.number(L.number(key, i, p), digits);
  const word = (key) => (i, p) => L.word(key, i, p) || "–";
  const percent = (key) => (i, p) => AH.percent(L.number(key, i, p), 4);
  const errorBound = (i, p) => (Number.isNaN(L.number("alpha_error_bound", i, p)) ? "–" : AH.bound(L.number("alpha_error_bound", i, p)));
  /** Alpha with eight digits, or with those of the CSV where eight would lose more than an error bound of the layer. */
  function alpha(i, p) {
    const value = L.number("alpha", i, p), bounds = L.precisions.map((_, at) => L.number("alpha_error_bound", i, at));
    return L.ok(i, p) ? value.toPrecision(bounds.some((known) => known > 0 && known < 1e-7 * value) ? 12 : 8) : "–";
  }
  const FIELDS = [
    ["status", word("status")], ["alpha", alpha],
    ["alpha of noise", size("alpha_null", 6)], [AH.metrics.alpha_ratio.title, (i, p) => AH.number(AH.metrics.alpha_ratio.value(i, p), 5)],
    ["drift", (i, p) => AH.metricText("drift", i, p)], ["error bound of alpha", errorBound], ["standard error", size("stderr")], ["spread by noise", size("alpha_spread")],
    ["tail", (i, p) => L.tail(i, p) || "–"],
    ["KS distance", size("ks_distance")], ["k of n", (i, p) => (L.number("k_used", i, p) ? `${L.number("k_used", i, p)} of ${L.number("n_eigs", i, p)}` : "–")],
    ["x_min", size("x_min", 5)], ["threshold", (i, p) => (L.word("threshold", i, p) === "last" ? "λ(k)" : "λ(k+1)")],
    ["spectral norm", size("spectral_norm", 5)], ["Frobenius norm", size("frobenius_norm", 5)], ["stable rank", size("stable_rank", 4)],
    ["relative error", percent("relative_error")], ["SQNR", (i, p) => L.sqnrText(i, p, " dB")],
    ["spectral error", percent("spectral_error")], ["weights to inf", size("overflow")], ["weights to 0", size("underflow")],
    ["bits per weight", size("effective_bits", 4)], ["method", word("method")], ["solver", word("solver")],
  ];

  /** A column stands for all precisions with the same values; what differs even so (bits, method) is told for each. */
  const told = (text, i, p) => [...new Set(L.precisions.flatMap((_, at) => (L.first(at) === p ? [text(i, at)] : [])))].join(" / ");

  AH.layerNumbers = (i, chosen) => AH.el("table", {class: "numbers fields"},
    AH.el("thead", {}, AH.el("tr", {}, AH.el("th", {scope: "col"}), ...L.distinct.map((p) => AH.el("th", {scope: "col", class: p === chosen ? "number chosen" : "number", text: L.named(p)})))),
    AH.el("tbody", {}, ...FIELDS.map(([title, text]) => AH.el("tr", {}, AH.el("th", {scope: "row", text: title}),
      ...L.distinct.map((p) => AH.el("td", {class: p === chosen ? "number chosen" : "number", text: told(text, i, p)}))))));
})();
