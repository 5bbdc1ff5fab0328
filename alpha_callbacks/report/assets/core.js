"use strict";
/* AH: data, elements, number texts, themes and colours. Everything else stands on it. */
const AH = (() => {
  const KINDS = {f8: Float64Array, f4: Float32Array, u4: Uint32Array, u2: Uint16Array};

  /** The data that a section came with. */
  function data(name) {
    const element = document.getElementById(`data-${name}`);
    return element ? JSON.parse(element.textContent) : null;
  }

  /** A column of numbers that `packing.packed` made. */
  function unpack(column) {
    const text = atob(column.b);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new KINDS[column.t](bytes.buffer);
  }

  /** Words that `packing.coded` made: a function from place to word. */
  function decode(column) {
    const indices = unpack(column.i);
    return (place) => column.w[indices[place]];
  }

  /** An element; `text` is shown as it is, whatever it holds; `on` has listeners; null leaves an attribute out. */
  function el(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "text") element.textContent = value;
      else if (name === "on") for (const [kind, act] of Object.entries(value)) element.addEventListener(kind, act);
      else if (name === "style") Object.assign(element.style, value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  /** Text for plotly, which takes some tags for markup. */
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  /** A layer's name as nodes that a line may break after a dot or an underscore, not inside a word. */
  const breakable = (name) => name.split(/(?<=[._])/).flatMap((part, at) => (at ? [el("wbr"), part] : [part]));

  const power = (value, digits) => value.toExponential(digits).replace("e+", "e").replace("-", "−").replace("e-", "e−");

  /** A number with so many significant digits, in powers of ten where it is very large or small. */
  function number(value, digits = 4) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 1e-3 || size >= 1e7) return power(value, Math.max(0, digits - 1));
    if (Number.isInteger(value)) return value.toLocaleString("en-US").replace("-", "−");
    return value.toPrecision(digits).replace("-", "−").replace(/e\+?(\d+)$/, "e$1");
  }

  const signed = (value, digits = 2) =>
    Number.isNaN(value) ? "–" : value === 0 ? "0" : (value > 0 ? "+" : "") + number(value, digits);

  const count = (n, noun) => `${n.toLocaleString("en-US")} ${noun}${n === 1 ? "" : "s"}`;

  function median(values) {
    const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
    const half = sorted.length >> 1;
    return !sorted.length ? NaN : sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  /* Colour scales: stops from low to high. viridis and coolwarm as in the static charts; errors from pale to red. */
  const SCALES = {
    sequential: ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"],
    diverging: ["#3b4cc0", "#6788ee", "#9abbff", "#c9d7f0", "#dddddd", "#edd1c2", "#f7a889", "#e26952", "#b40426"],
    error: ["#fff7ec", "#fee8c8", "#fdd49e", "#fdbb84", "#fc8d59", "#ef6548", "#d7301f", "#b30000", "#7f0000"],
  };
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  /** The colour at a share 0..1 of a scale, and the ink that can be read on it. */
  function color(scale, share) {
    const stops = SCALES[scale];
    const at = Math.min(1, Math.max(0, share)) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(at));
    const [a, b] = [channels(stops[low]), channels(stops[low + 1])];
    const mixed = a.map((value, i) => Math.round(value + (b[i] - value) * (at - low)));
    const luma = (0.299 * mixed[0] + 0.587 * mixed[1] + 0.114 * mixed[2]) / 255;
    return {fill: `rgb(${mixed.join(",")})`, ink: luma < 0.55 ? "#ffffff" : "#1c1c1c"};
  }
  const gradient = (scale) => `linear-gradient(to right, ${SCALES[scale].join(", ")})`;

  /* Theme: what the system prefers, unless the reader chose. */
  const system = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];
  let chosen = "auto";
  const dark = () => (chosen === "auto" ? system.matches : chosen === "dark");

  function choose(theme) {
    chosen = theme;
    document.documentElement.dataset.theme = dark() ? "dark" : "light";
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      const mine = button.dataset.themeChoice === theme;
      button.setAttribute("aria-checked", String(mine));
      button.tabIndex = mine ? 0 : -1;
    }
    try { localStorage.setItem("alpha-hill-theme", theme); } catch { /* not for files in every browser */ }
    for (const act of listeners) act();
  }

  /** Arrow keys inside a group of radio buttons move and choose; `act` gets the button. */
  function radios(group, act) {
    const buttons = [...group.querySelectorAll("[role=radio]")];
    for (const button of buttons) button.addEventListener("click", () => act(button));
    group.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (!step) return;
      event.preventDefault();
      const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
      next.focus();
      act(next);
    });
  }

  /** A group of radio buttons for a choice: [value, label]... ; returns the group and a setter. */
  function choice(label, options, value, act) {
    const group = el("div", {class: "choice", role: "radiogroup", "aria-label": label});
    const show = (now) => {
      for (const button of group.children) {
        button.setAttribute("aria-checked", String(button.dataset.value === now));
        button.tabIndex = button.dataset.value === now ? 0 : -1;
      }
    };
    for (const [key, text, title] of options)
      group.append(el("button", {type: "button", role: "radio", "data-value": key, text, title}));
    radios(group, (button) => { show(button.dataset.value); act(button.dataset.value); });
    show(value);
    return {group, show};
  }

  const themes = document.querySelector(".themes");
  if (themes) radios(themes, (button) => choose(button.dataset.themeChoice));
  let kept = null;
  try { kept = localStorage.getItem("alpha-hill-theme"); } catch { /* see above */ }
  choose(["auto", "light", "dark"].includes(kept) ? kept : "auto");
  system.addEventListener("change", () => choose(chosen));

  return {
    data, unpack, decode, el, plain, breakable, number, signed, count, median, color, gradient, choice, dark,
    /** Be told when the theme changes. */
    onTheme: (act) => listeners.push(act),
    /** The value of a CSS variable in this theme: token("ink"). */
    token: (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(),
  };
})();
