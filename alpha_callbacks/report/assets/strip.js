"use strict";
/* AH.strip: layers without a cell in a map, as tiles with their names. */
(() => {
  const MOST = 240;

  /**
   * Show tiles in an element; the caller fills in values and colours.
   * layers: those outside blocks. name(i): in full; label(i): what fits a tile. alone: no layer is inside a block.
   * Returns one tile per layer shown: {element, value, i}.
   */
  AH.strip = (element, {layers, name, label, alone, tag = "div"}) => {
    const tiles = layers.slice(0, MOST).map((i) => {
      const value = AH.el("span", {class: "outside-value"});
      const attributes = {class: "cell outside", title: name(i), type: tag === "button" ? "button" : null};
      return {i, value, element: AH.el(tag, attributes, AH.el("span", {class: "outside-name", text: label(i)}), value)};
    });
    const more = layers.length - tiles.length, title = alone ? "Layers" : "Outside blocks";
    element.replaceChildren(
      AH.el("h3", {class: "below", text: `${title} (${layers.length.toLocaleString("en-US")})`}),
      AH.el("div", {class: "strip", role: tag === "button" ? "toolbar" : "group", "aria-label": `${title}, ${AH.count(layers.length, "layer")}`}, ...tiles.map((tile) => tile.element)),
      AH.el("p", {class: "note", text: more > 0 ? `… and ${more.toLocaleString("en-US")} more in the table below.` : ""}));
    return tiles;
  };
})();
