"use strict";
/* AH.plot: plotly in the look of the page; charts are drawn when they come into view, when the theme changes, and on paper. */
(() => {
  const CONFIG = {
    displaylogo: false, responsive: true,
    // An explicit list: plotly.js 4 has a button "Share chart..." that sends the data to plotly's cloud.
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
    showSendToCloud: false, plotlyServerURL: "",
  };
  const drawn = new Map(); // element -> function that returns {data, layout}
  const shown = new Set();

  /** An axis in the look of the page. */
  function axis(more = {}) {
    return {
      gridcolor: AH.token("grid"), linecolor: AH.token("line"), zerolinecolor: AH.token("line"), tickcolor: AH.token("line"),
      automargin: true, title: {standoff: 6}, ticks: "outside", ticklen: 3, ...more,
    };
  }

  function frame(layout) {
    const ink = AH.token("ink");
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: {family: "system-ui, sans-serif", size: 12, color: ink},
      margin: {l: 52, r: 14, t: 8, b: 42}, hovermode: "closest", showlegend: false,
      hoverlabel: {bgcolor: AH.token("card"), bordercolor: AH.token("line"), font: {color: ink, size: 12}},
      modebar: {bgcolor: "rgba(0,0,0,0)", color: AH.token("faint"), activecolor: AH.token("accent")},
      ...layout,
    };
  }

  function draw(element) {
    const build = drawn.get(element);
    if (!build || !element.isConnected || !window.Plotly) return;
    const {data, layout} = build();
    Plotly.react(element, data, frame(layout), CONFIG);
  }

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting && !shown.has(entry.target)) {
      shown.add(entry.target);
      draw(entry.target);
    }
  }, {rootMargin: "200px"});

  /** Draw a chart into an element: `build` returns {data, layout} in the colours of the theme now. */
  AH.plot = (element, build) => {
    drawn.set(element, build);
    if (shown.has(element)) draw(element);
    else seen.observe(element);
  };

  /** Forget a chart before its element is removed. */
  AH.unplot = (element) => {
    seen.unobserve(element);
    if (shown.delete(element)) window.Plotly?.purge(element);
    drawn.delete(element);
  };
  /** Draw every chart anew, in view or not, as wide as its element is now: plotly's own resizing comes later. */
  AH.drawAll = () => {
    for (const element of drawn.keys()) {
      if (shown.has(element)) window.Plotly?.purge(element);
      shown.add(element);
      draw(element);
    }
  };
  AH.axis = axis;
  AH.onTheme(() => shown.forEach(draw));
  document.addEventListener("DOMContentLoaded", () => shown.forEach(draw)); // plotly's script is the last one
})();
