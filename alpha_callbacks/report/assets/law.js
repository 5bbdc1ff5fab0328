"use strict";
/* AH.law: the Marchenko-Pastur law of noise, and what the Hill estimator returns on it
   and how far it spreads (see estimators/marchenko_pastur.py and spread.py). */
AH.law = (() => {
  const STEPS = 4000;

  /** Edges and density of the law for a matrix whose entries have this mean square. */
  function noise(rows, cols, variance) {
    const q = Math.min(rows, cols) / Math.max(rows, cols), scale = variance * Math.max(rows, cols), root = Math.sqrt(q);
    const low = scale * (1 - root) ** 2, high = scale * (1 + root) ** 2;
    const density = (x) => {
      const inside = (high - x) * (x - low);
      return inside > 0 ? Math.sqrt(inside) / (2 * Math.PI * q * x * scale) : 0;
    };
    return {low, high, density};
  }

  /** alpha of the law at each share k / n of the spectrum, from one pass down from its upper edge. */
  function hill(rows, cols, shares) {
    const q = Math.min(rows, cols) / Math.max(rows, cols), step = Math.PI / STEPS;
    const found = [];
    let mass = 0, logs = 0, t = 0, before = {x: (1 + Math.sqrt(q)) ** 2, weight: 0};
    let last = {mass: 0, alpha: NaN};
    for (const share of shares) {
      while (mass < share && t < STEPS) {
        t += 1;
        const x = 1 + q + 2 * Math.sqrt(q) * Math.cos(t * step);
        const weight = x > 1e-12 ? (2 * Math.sin(t * step) ** 2) / (Math.PI * x) : 0;
        last = {mass, alpha: mass ? 1 + mass / (logs - mass * Math.log(before.x)) : NaN};
        mass += (step * (weight + before.weight)) / 2;
        logs += (step * (weight * Math.log(x) + before.weight * Math.log(before.x))) / 2;
        before = {x, weight};
      }
      const alpha = 1 + mass / (logs - mass * Math.log(before.x));
      const part = Number.isNaN(last.alpha) ? 1 : (share - last.mass) / (mass - last.mass || 1);
      found.push(Number.isNaN(last.alpha) ? alpha : last.alpha + part * (alpha - last.alpha));
    }
    return found;
  }

  /** Standard deviation of alpha-Hill over draws of the noise in a matrix (see estimators/spread.py). */
  const spread = (alpha, k, n) => ((alpha - 1) / k) * (0.7 + 0.15 * Math.log(k)) * (1 + (0.3 * k) / n);

  return {noise, hill, spread};
})();
