"use strict";
/* AH.panel: one layer at the side of the page, or the list of the layers of one cell. */
AH.panel = (() => {
  const L = AH.layers, MOST = 400;
  const panel = document.getElementById("panel");
  let shown = null; // {layer} or {layers, title}, and where the focus goes back to
  let opener = null, from = null;

  const title = AH.el("h2", {id: "panel-title", class: "mono panel-title", tabindex: "-1"});
  const about = AH.el("p", {class: "panel-about"});
  const button = (text, label, act, more = {}) => AH.el("button", {type: "button", class: "button", text, "aria-label": label, title: label, on: {click: act}, ...more});
  const back = button("← List", "Back to the list of the cell", () => show(from));
  const [before, after] = [button("‹", "Previous layer", () => step(-1)), button("›", "Next layer", () => step(1))];
  const close = button("×", "Close (Escape)", () => hide());
  const precisions = AH.el("div", {class: "panel-precisions"}, AH.view.precisions("Precision of the panel"));
  const facts = AH.el("div"), list = AH.el("div"), plots = AH.panelPlots();
  const numbers = AH.el("div", {class: "scroll"});
  const body = AH.el("div", {class: "panel-body"}, precisions, facts, plots.element, numbers);
  panel.append(AH.el("header", {class: "panel-head"}, AH.el("div", {class: "panel-name"}, title, about), AH.el("div", {class: "panel-buttons"}, back, before, after, close)), body, list);

  /** Open the panel for these layers: one, or the members of a cell. */
  function open(layers, {title: words = "", opener: by = document.activeElement, precision = null} = {}) {
    if (!opener || !panel.contains(by)) opener = by;
    if (precision !== null) AH.view.set({precision});
    from = layers.length > 1 ? {layers, title: words} : null;
    show(layers.length > 1 ? from : {layer: layers[0]});
  }

  function show(what) {
    shown = what;
    const fresh = panel.hidden;
    panel.hidden = false;
    AH.state.set({layer: "layer" in shown ? L.name(shown.layer) : null});
    document.body.classList.add("with-panel");
    if (fresh) window.dispatchEvent(new Event("resize")); // charts beside it have less room
    draw();
    panel.scrollTop = 0;
    if (opener?.classList.contains("cell")) opener.scrollIntoView({block: "nearest", behavior: "instant"});
    title.focus({preventScroll: true});
  }

  function draw() {
    const one = "layer" in shown;
    body.hidden = !one;
    list.hidden = one;
    back.hidden = !one || !from;
    before.hidden = after.hidden = !one;
    if (one) drawLayer(shown.layer, AH.view.now.precision);
    else drawList(shown);
    AH.marked(one ? [shown.layer] : shown.layers);
  }

  function hide() {
    if (panel.hidden) return;
    plots.clear();
    panel.hidden = true;
    document.body.classList.remove("with-panel");
    window.dispatchEvent(new Event("resize"));
    AH.marked([]);
    AH.state.set({layer: null});
    const to = opener && opener.isConnected ? opener : document.querySelector("#heat [tabindex='0'], #strip [tabindex='0']");
    [opener, from, shown] = [null, null, null];
    to?.focus();
  }

  function step(by) {
    const among = from ? from.layers : L.all, at = among.indexOf(shown.layer);
    shown = {layer: among[(at + by + among.length) % among.length]};
    AH.state.set({layer: L.name(shown.layer)});
    draw();
  }

  function drawList({layers, title: words}) {
    const {metric: key, precision: p} = AH.view.now, metric = AH.metrics[key];
    const value = (i) => metric.value(i, p);
    const sorted = [...layers].sort((a, b) => (Number.isNaN(value(a)) - Number.isNaN(value(b))) || value(a) - value(b));
    title.textContent = words;
    about.textContent = `${AH.count(layers.length, "layer")}, by ${metric.title} at ${L.precisions[p]}${layers.length > MOST ? `; the first ${MOST} are listed, the table has all` : ""}`;
    list.replaceChildren(AH.el("ol", {class: "members"}, ...sorted.slice(0, MOST).map((i) => AH.el("li", {},
      AH.el("button", {type: "button", class: "layer-link mono", on: {click: () => show({layer: i})}}, ...AH.breakable(L.name(i))), AH.el("span", {class: "figure", text: AH.metricText(key, i, p)})))));
  }

  function drawLayer(i, p) {
    title.replaceChildren(...AH.breakable(L.name(i)));
    const tied = L.word("tied_to", i, 0);
    about.textContent = [L.category(i), L.block(i) === null ? "" : `block ${L.block(i)}`, L.shape(i), `stored in ${L.word("stored_dtype", i, 0) || "?"}`, tied ? `tied to ${tied}` : ""].filter(Boolean).join(" · ");
    facts.replaceChildren(...AH.layerFacts(i, p));
    numbers.replaceChildren(AH.el("h3", {class: "below", text: "Numbers"}), AH.layerNumbers(i, p));
    plots.draw(i, p);
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.hidden) { event.preventDefault(); hide(); }
  });
  AH.view.on(() => { if (shown) draw(); });
  AH.onTheme(() => { if (shown) draw(); }); // the bars have a colour per theme
  return {open, hide};
})();
