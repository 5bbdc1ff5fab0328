"use strict";
/* AH.layers: the content of the scan's table. Layers are numbered 0..count-1, precisions 0..width-1. */
AH.layers = (() => {
  const source = AH.data("map").layers;
  const width = source.precisions.length, count = source.name.length;
  const EACH = ["out_features", "in_features", "alpha_null", "share"]; // one per layer; other numbers: one per layer and precision
  const numbers = {}, words = {};
  for (const [key, column] of Object.entries(source)) {
    if (column && column.b) numbers[key] = AH.unpack(column);
    else if (column && column.w) words[key] = AH.decode(column);
  }
  const LAYER_WORDS = ["category", "stored_dtype", "tied_to", "threshold"];
  const number = (key, i, p) => numbers[key][EACH.includes(key) ? i : i * width + p];
  const word = (key, i, p) => words[key](LAYER_WORDS.includes(key) ? i : i * width + p);
  const ok = (i, p) => word("status", i, p) === "ok";
  const labels = new Map(source.name.map((_, i) => i).filter((i) => source.block[i] === null).map((i, at) => [i, source.label[at]]));
  const places = new Map(source.name.map((name, i) => [name, i]));

  const weights = (i) => numbers.out_features[i] * numbers.in_features[i];
  /** Signal to quantization noise in dB, infinite where nothing is lost. */
  const sqnr = (i, p) => -20 * Math.log10(number("relative_error", i, p));

  return {
    count, width, precisions: source.precisions, reference: source.reference, number, word, ok,
    /** Formats below 16 bits whose error was measured, the widest first. */
    lowBit: source.low_bit,
    /** Precisions that differ from all before them; the others have the same values in every layer. */
    distinct: source.same.flatMap((first, p) => (first === p ? [p] : [])),
    /** The first precision with the same values. */
    first: (p) => source.same[p],
    /** A precision and those with the same values: "fp32 = bf16". */
    named: (p) => source.precisions.filter((_, at) => source.same[at] === source.same[p]).join(" = "),
    /** Numbers that any estimator but Hill's has found. */
    estimators: [...new Set(source.estimates.flatMap((fits) => fits.map(([name]) => name)))],
    all: Array.from({length: count}, (_, i) => i),
    sqnr,
    sqnrText: (i, p, unit = "") => (sqnr(i, p) === Infinity ? "∞" : Number.isNaN(sqnr(i, p)) ? "–" : `${sqnr(i, p).toFixed(1)}${unit}`),
    /** What a weight takes at a precision, scales included, in MB. */
    megabytes: (i, p) => (weights(i) * number("effective_bits", i, p)) / 8e6,
    name: (i) => source.name[i],
    block: (i) => source.block[i],
    category: (i) => words.category(i),
    /** The short label of a layer outside blocks. */
    label: (i) => labels.get(i),
    /** True if so many values are too few for a box. */
    few: (n) => n < source.few, surely: source.surely,
    shape: (i) => `${numbers.out_features[i]} × ${numbers.in_features[i]}`,
    /** The number of a layer, or undefined. */
    find: (name) => places.get(name),
    /** The other fits of a row: [estimator, alpha, eigenvalues, KS distance, low, high, reason]. */
    estimates: (i, p) => source.estimates[i * width + p] ?? [],
    /** The verdict on the tail: "clear", "doubtful", "none"; "" of results that say nothing of it. */
    tail: (i, p) => word("tail", i, p),
    /** alpha where it is usable, else nan. */
    alpha: (i, p) => (ok(i, p) ? number("alpha", i, p) : NaN),
  };
})();
