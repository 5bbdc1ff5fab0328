"use strict";
/* The colours of the vocabulary: AH.color, AH.gradient, AH.plotlyScale, AH.ends for scales; AH.categoryColor, AH.categoryShape,
   AH.precisionColor for names; AH.key, AH.categoryKeys for legends. */
(() => {
  const {scales, inks, dark_theme: pale, precisions, other_precisions: cycle, other_category: other} = AH.words;
  const looks = new Map(AH.words.categories.map(([name, color, shape]) => [name, [color, shape]]));
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  /** The colour at a share 0..1 of a scale, and the ink that can be read on it. */
  AH.color = (scale, share) => {
    const stops = scales[scale];
    const at = Math.min(1, Math.max(0, share)) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(at));
    const [a, b] = [channels(stops[low]), channels(stops[low + 1])];
    const mixed = a.map((value, i) => Math.round(value + (b[i] - value) * (at - low)));
    const luma = (0.299 * mixed[0] + 0.587 * mixed[1] + 0.114 * mixed[2]) / 255;
    return {fill: `rgb(${mixed.join(",")})`, ink: luma < inks.dark_below ? inks.dark : inks.light};
  };
  AH.gradient = (scale) => `linear-gradient(to right, ${scales[scale].join(", ")})`;

  /** A scale as plotly takes it. */
  AH.plotlyScale = (name) => scales[name].map((stop, i, stops) => [i / (stops.length - 1), stop]);

  /** Where the colours of these values end, as `color_ends` in Python has it: {low, high, remark}; null without any. */
  AH.ends = (values, scale) => {
    const {from, share, around: least} = AH.words.cut, known = values.filter(Number.isFinite);
    if (!known.length) return null;
    const at = (sorted, part) => sorted[Math.floor(part * (sorted.length - 1) + 0.5)];
    const middle = scale === "around" ? at(Float64Array.from(known).sort(), 0.5) : 0, both = scale === "around" || scale === "diverging";
    const ordered = Float64Array.from(known, (x) => (both ? Math.abs(x - middle) : x)).sort();
    const cut = ordered.length > from ? share : 0, [smallest, largest] = [ordered[0], ordered.at(-1)];
    let [low, high] = [at(ordered, cut), at(ordered, 1 - cut)];
    if (scale === "around") high = Math.max(high, least * Math.abs(middle)) || 0.5;
    else if (both) high = high || ordered.find((x) => x > 0) || 0;  // most did not change: still show which did
    else if (low === high) [low, high] = [smallest, largest];
    if (low === high && !both) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
    const clipped = largest > high || (!both && smallest < low);
    const remark = AH.words.labels[{diverging: "change_ends", around: "around_ends"}[scale] || "color_ends"];
    if (both && !high) return null;
    return {low: both ? middle - high : low, high: middle + high, remark: clipped ? `${remark[0].toUpperCase()}${remark.slice(1)}.` : ""};
  };

  /** A colour as this theme shows it: in the dark theme the darkest ones are lighter. */
  const themed = (color) => (AH.dark() && pale[color]) || color;
  AH.themed = themed;
  const modality = new RegExp(`^(${AH.words.modalities.join("|")})_`);
  /** Categories look the same in each modality, and an update looks like its weight. */
  const look = (category) => looks.get(category.replace(modality, "").replace(/_update$/, "")) || other;
  AH.categoryColor = (category) => themed(look(category)[0]);
  AH.categoryShape = (category) => look(category)[1];

  /** The colour of one of these precisions. */
  AH.precisionColor = (name, names) =>
    themed(precisions[name] || cycle[names.filter((one) => !(one in precisions)).indexOf(name) % cycle.length]);

  /** The place of a category in the order of all charts; unknown ones come last. */
  const places = [...looks.keys()];
  AH.categoryOrder = (a, b) => {
    const [one, two] = [a, b].map((name) => {
      const [, which] = name.match(modality) || [null, ""], plain = name.replace(modality, "");
      const turn = AH.words.modalities.indexOf(which) + 1;
      return looks.has(plain) ? turn * places.length + places.indexOf(plain) : Infinity;
    });
    return (one === two ? 0 : one - two) || a.localeCompare(b);
  };

  /** One legend entry; the colour may be a CSS variable. */
  AH.key = (text, color, more = {}) => {
    const key = AH.el("span", {text, ...more});
    key.style.setProperty("--key", color);
    return key;
  };

  /** The legend of categories, redrawn with the theme. */
  AH.categoryKeys = (element, categories) => {
    const show = () => element.replaceChildren(...categories.map((name) =>
      AH.key(name, AH.categoryColor(name), {class: AH.categoryShape(name) === "circle" ? "round" : null})));
    show();
    AH.onTheme(show);
  };
})();
