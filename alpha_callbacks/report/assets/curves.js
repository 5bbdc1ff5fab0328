"use strict";
/* AH.curves: points of the spectra in the page, decoded on demand. */
AH.curves = (() => {
  const source = AH.data("map").curves, L = AH.layers;
  const of = AH.unpack(source.of), n = AH.unpack(source.n), k = AH.unpack(source.k), ends = AH.unpack(source.ends);
  const counts = AH.unpack(source.counts), hill = AH.unpack(source.hill), ranked = AH.unpack(source.ranked);
  const sizesOf = (c) => source.sizes[`${n[c]},${k[c]}`], ranksOf = (c) => source.ranks[String(n[c])];
  const starts = {hill: [0], ranked: [0]}; // where the points of each curve begin
  for (let c = 0; c < n.length; c++) {
    starts.hill.push(starts.hill[c] + sizesOf(c).length);
    starts.ranked.push(starts.ranked[c] + ranksOf(c).length);
  }
  const part = (column, from, c) => column.subarray(from[c], from[c + 1]);

  /** The curve of a layer at a precision, or null: n eigenvalues, tail size k, histogram, Hill plot, largest ones. */
  function get(i, p) {
    const c = of[i * L.width + p] - 1;
    if (c < 0) return null;
    const [low, high] = [ends[2 * c], ends[2 * c + 1]], bins = source.bins;
    const edges = Array.from({length: bins + 1}, (_, j) => low * (high / low) ** (j / bins));
    const mine = counts.subarray(c * bins, (c + 1) * bins);
    return {
      n: n[c], k: k[c], edges, counts: mine,
      density: Array.from(mine, (count, j) => count / n[c] / (edges[j + 1] - edges[j])),
      sizes: sizesOf(c), hill: Array.from(part(hill, starts.hill, c)),
      ranks: ranksOf(c), ranked: Array.from(part(ranked, starts.ranked, c)),
    };
  }
  return {get, any: n.length > 0, leftOut: source.left_out, problems: source.problems};
})();
