"use strict";
/* AH.panelPlots: the spectrum of a layer with its fitted tail beside noise, and alpha against the size of the tail. */
AH.panelPlots = () => {
  const L = AH.layers;
  const heads = (text, ...more) => AH.el("div", {class: "plot-head"}, AH.el("h3", {text}), ...more);
  const chart = (label, height) => AH.el("div", {class: "plot", role: "img", "aria-label": label, style: {height: `${height}px`}});
  const spectrum = chart("Spectrum in double logarithmic scale with the fitted tail and the law of noise", 310);
  const hill = chart("Alpha against the size of the tail, with the size used and the same curve for noise", 290);
  const missing = AH.el("p", {class: "note"});
  const hint = AH.el("p", {class: "note"});
  let kind = "density", now = null;
  const kinds = AH.choice("What the spectrum shows", [["density", "Density", "Share of eigenvalues per unit of λ"], ["survival", "Survival", "Share of eigenvalues above λ: no bins"]], kind, (chosen) => {
    kind = chosen;
    if (now) drawSpectrum(now);
  }).group;
  const charts = AH.el("div", {}, heads("Spectrum", kinds), spectrum, heads("Hill plot"), hill, hint);
  const element = AH.el("div", {}, charts, missing);

  const line = (name, x, y, color, more = {}) => ({type: "scatter", mode: "lines", name, x, y, line: {color: AH.token(color), width: 2, ...more}, hoverinfo: "skip"});
  const logs = (low, high, points) => Array.from({length: points}, (_, j) => low * (high / low) ** (j / (points - 1)));
  const legend = {showlegend: true, legend: {orientation: "h", x: 0, yref: "container", y: 1, yanchor: "top", font: {size: 11.5}, bgcolor: "rgba(0,0,0,0)"}, margin: {l: 56, r: 12, t: 28, b: 44}};
  const mark = (x, text, color = "ink") => ({
    shapes: [{type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, layer: "below", line: {color: AH.token(color), width: 1, dash: "dot"}}],
    annotations: [{x: Math.log10(x), xref: "x", y: 0.02, yref: "paper", yanchor: "bottom", xanchor: "right", xshift: -3, showarrow: false, text, font: {size: 11, color: AH.token("soft")}, bgcolor: AH.token("card"), opacity: 0.9}],
  });

  /** The law of noise with the size of this layer at points over the width of its spectrum: density and survival. */
  function noiseOf({i, p, curve}) {
    const rows = L.number("out_features", i), cols = L.number("in_features", i);
    const law = AH.law.noise(rows, cols, L.number("frobenius_norm", i, p) ** 2 / (rows * cols));
    const low = Math.max(law.low, curve.edges[0], law.high * 1e-9);
    if (!(law.high > low)) return {x: [], density: [], survival: []};
    const x = logs(low, law.high, 400).map((at, j) => (j === 399 ? law.high * (1 - 1e-9) : at)), density = x.map(law.density);
    const survival = new Array(x.length).fill(0);
    for (let j = x.length - 2; j >= 0; j--) survival[j] = survival[j + 1] + ((density[j] + density[j + 1]) / 2) * (x[j + 1] - x[j]);
    return {x, density: density.map((d) => d || null), survival: survival.map((s) => s || null)};
  }

  /** Where the charts begin: nine tenths of the eigenvalues are above. A double click shows the others. */
  function bulk({counts, n, edges}) {
    let below = 0;
    for (let j = 0; j < counts.length; j++) if ((below += counts[j]) > n / 10) return edges[j];
    return edges[0];
  }

  function drawSpectrum(of) {
    const {i, p, curve} = of, alpha = L.alpha(i, p), xmin = L.number("x_min", i, p);
    const density = kind === "density", noise = noiseOf(of), share = curve.k / curve.n;
    AH.plot(spectrum, () => {
      const points = density
        ? {x: curve.counts.length ? curve.edges.slice(1).map((edge, j) => Math.sqrt(edge * curve.edges[j])) : [], y: curve.density.map((d) => d || null),
          text: Array.from(curve.counts, (count) => AH.count(count, "eigenvalue"))}
        : {x: curve.ranked, y: curve.ranks.map((rank) => rank / curve.n), text: curve.ranks.map((rank) => `rank ${rank.toLocaleString("en-US")}`)};
      const tail = Number.isFinite(alpha) ? logs(xmin, Math.max(curve.ranked[0], xmin * 1.01), 30) : [];
      const fitted = tail.map((x) => (density ? (share * (alpha - 1)) / xmin * (x / xmin) ** -alpha : share * (x / xmin) ** (1 - alpha)));
      const left = bulk(curve), right = curve.edges.at(-1);
      const seen = points.y.filter((d, j) => d && points.x[j] >= left), lowest = Math.min(...seen), highest = Math.max(...seen);
      const noisy = (density ? noise.density : noise.survival).map((d) => (d && d > lowest / 30 ? d : null));
      return {
        data: [
          {type: "scatter", mode: density ? "lines+markers" : "markers", name: "eigenvalues", ...points, connectgaps: false, marker: {color: AH.token("data"), size: 5}, line: {color: AH.token("data"), width: 1, shape: "hvh"}, hovertemplate: "λ = %{x:.4g}<br>%{text}<extra></extra>"},
          line(AH.words.labels.noise, noise.x, noisy, "noise", {dash: "dash", width: 1.6}),
          line(Number.isFinite(alpha) ? `tail, alpha = ${AH.number(alpha, 4)}` : "tail", tail, fitted, "tail", {width: 2.6}),
        ],
        layout: {
          ...legend, ...(xmin > 0 ? mark(xmin, `x_min, k = ${curve.k}`) : {}),
          xaxis: AH.axis({type: "log", title: {text: "eigenvalue λ = σ²", standoff: 6}, exponentformat: "power", nticks: 8, range: [Math.log10(left) - 0.03, Math.log10(right) + 0.1]}),
          yaxis: AH.axis({type: "log", title: {text: density ? "density" : "share above λ", standoff: 6}, exponentformat: "power", ...sparse(lowest, highest), range: [Math.log10(lowest) - 0.3, Math.log10(highest) + 0.3]}),
        },
      };
    });
  }

  /** Ticks of a log axis: at 1, 2 and 5 if it spans few decades, else at powers of ten; plotly's own ones overlap. */
  const sparse = (low, high) => ({dtick: high / low < 2e3 ? "D2" : Math.ceil(Math.log10(high / low) / 7)});

  function drawHill({i, p, curve}) {
    const alpha = L.alpha(i, p), rows = L.number("out_features", i), cols = L.number("in_features", i);
    const noise = AH.law.hill(rows, cols, curve.sizes.map((k) => k / curve.n));
    AH.plot(hill, () => {
      const error = curve.hill.map((value, j) => 1.96 * AH.law.spread(value, curve.sizes[j], curve.n));
      const band = (sign) => curve.hill.map((value, j) => value + sign * error[j]);
      const fill = `${AH.token("data")}33`;
      const settled = curve.hill.filter((value, j) => Number.isFinite(value) && curve.sizes[j] >= Math.min(5, curve.k));
      const top = 1.12 * Math.max(...settled, Number.isFinite(alpha) ? alpha : 1, noise[curve.sizes.indexOf(curve.k)] || 1);
      return {
        data: [
          {type: "scatter", mode: "lines", x: curve.sizes, y: band(-1), line: {width: 0}, showlegend: false, hoverinfo: "skip"},
          {type: "scatter", mode: "lines", x: curve.sizes, y: band(1), line: {width: 0}, fill: "tonexty", fillcolor: fill, name: AH.words.labels.spread, hoverinfo: "skip"},
          {type: "scatter", mode: "lines", x: curve.sizes, y: curve.hill, name: "alpha", line: {color: AH.token("data"), width: 2}, hovertemplate: "k = %{x}<br>alpha = %{y:.4f}<extra></extra>"},
          line(AH.words.labels.noise, curve.sizes, noise, "noise", {dash: "dash", width: 1.6}),
          ...(Number.isFinite(alpha) ? [{type: "scatter", mode: "markers", x: [curve.k], y: [alpha], name: `used: k = ${curve.k}`, marker: {color: AH.token("tail"), size: 10, line: {color: AH.token("card"), width: 1.5}}, hovertemplate: "k = %{x}<br>alpha = %{y:.6f}<extra></extra>"}] : []),
        ],
        layout: {
          ...legend, ...mark(curve.k, "", "tail"),
          xaxis: AH.axis({type: "log", title: {text: "tail size k", standoff: 6}, ...sparse(curve.sizes[0], curve.sizes.at(-1))}),
          yaxis: AH.axis({title: {text: "alpha", standoff: 6}, range: [1, top], zeroline: false}),
        },
      };
    });
    hint.textContent = "A power-law tail shows as a range of k where alpha hardly changes. If alpha climbs or falls throughout, there is no such tail.";
  }

  return {
    element,
    draw(i, p) {
      const curve = AH.curves.get(i, p);
      now = curve && {i, p, curve};
      charts.hidden = !curve;
      missing.hidden = Boolean(curve);
      missing.textContent = curve ? "" : why(i, p);
      if (!curve) return;
      drawSpectrum(now);
      drawHill(now);
    },
    clear() { now = null; AH.unplot(spectrum); AH.unplot(hill); },
  };

  function why(i, p) {
    if (!L.number("k_used", i, p)) return "No spectrum: this layer was not decomposed at this precision.";
    if (L.word("method", i, p) === "certified" && L.precisions.some((_, q) => AH.curves.get(i, q))) return "No spectrum of its own: alpha is proved from the eigenvectors of the stored matrix, whose spectrum another precision shows. Scan with --save-spectra to decompose each precision.";
    if (AH.curves.problems.length) return `No spectrum: ${AH.curves.problems[0]}`;
    if (!AH.curves.any) return "No spectrum: the scan kept no eigenvalues. Scan again with --save-spectra.";
    return AH.curves.leftOut ? "No spectrum: the page holds only the curves of the first layers and of the experts with the heaviest tails; open_spectra reads all." : "No spectrum: the scan kept none for this layer. Scan again with --save-spectra.";
  }
};
