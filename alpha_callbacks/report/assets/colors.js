"use strict";
/* The colours of the vocabulary: AH.color, AH.gradient, AH.plotlyScale for scales; AH.categoryColor, AH.categoryShape,
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

  /** A colour as this theme shows it: in the dark theme the darkest ones are lighter. */
  const themed = (color) => (AH.dark() && pale[color]) || color;
  const look = (category) => looks.get(category.replace(/_update$/, "")) || other;  // an update looks like its weight
  AH.categoryColor = (category) => themed(look(category)[0]);
  AH.categoryShape = (category) => look(category)[1];

  /** The colour of one of these precisions. */
  AH.precisionColor = (name, names) =>
    themed(precisions[name] || cycle[names.filter((one) => !(one in precisions)).indexOf(name) % cycle.length]);

  /** The place of a category in the order of all charts; unknown ones come last. */
  const places = [...looks.keys()];
  AH.categoryOrder = (a, b) => {
    const [one, two] = [a, b].map((name) => (looks.has(name) ? places.indexOf(name) : places.length));
    return one - two || a.localeCompare(b);
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
