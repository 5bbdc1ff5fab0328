"use strict";
/* AH.categoryColor: the colours of the static charts; AH.key, AH.categoryKeys: what colours mean; AH.plotlyScale. */
(() => {
  const COLORS = {
    attn_q: "#0072b2", attn_k: "#56b4e9", attn_v: "#009e73", attn_o: "#332288", attn_qkv: "#0072b2", mlp_gate: "#e69f00",
    mlp_up: "#d55e00", mlp_down: "#cc79a7", mlp_gate_up: "#e69f00", moe_router: "#999933", embedding: "#882255",
    lm_head: "#4d4d4d", conv: "#117733",
  };
  const PALE = {attn_o: "#9d8df1", attn_q: "#4aa8e0", attn_qkv: "#4aa8e0", lm_head: "#b9bec6", embedding: "#cf6fa3", conv: "#55b06f"};

  /** The colour of a category; in the dark theme the darkest ones are lighter. */
  AH.categoryColor = (category) => {
    const name = category.replace("moe_expert_", "mlp_");
    return (AH.dark() && PALE[name]) || COLORS[name] || "#888888";
  };

  /** Colour keys of categories, redrawn with the theme. */
  AH.categoryKeys = (element, categories) => {
    const show = () => element.replaceChildren(...categories.map((name) =>
      AH.key(name, AH.categoryColor(name), {class: name.startsWith("attn_") ? "round" : null})));
    show();
    AH.onTheme(show);
  };

  /** One colour key; the colour may be a variable of the page. */
  AH.key = (text, color, more = {}) => {
    const key = AH.el("span", {text, ...more});
    key.style.setProperty("--key", color);
    return key;
  };

  /** A scale of plotly's from one of the page; its middle is the card's colour where the scale diverges. */
  AH.plotlyScale = (name) => [...Array(21).keys()].map((i) => [i / 20, AH.color(name, i / 20).fill]);
})();
