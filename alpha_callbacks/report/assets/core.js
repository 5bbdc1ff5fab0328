"use strict";
/* AH: data, elements, number texts and themes. All other scripts build on it. */
const AH = (() => {
  const KINDS = {f8: Float64Array, f4: Float32Array, u4: Uint32Array, u2: Uint16Array};

  /** The data of a section. */
  function data(name) {
    const element = document.getElementById(`data-${name}`);
    return element ? JSON.parse(element.textContent) : null;
  }

  /** The vocabulary that pages share with the static charts: alpha_callbacks/tables/vocabulary.py. */
  const words = data("vocabulary");

  /** A column of numbers that `packing.packed` made. */
  function unpack(column) {
    const text = atob(column.b);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new KINDS[column.t](bytes.buffer);
  }

  /** Words that `packing.coded` made: a function from index to word. */
  function decode(column) {
    const indices = unpack(column.i);
    return (place) => column.w[indices[place]];
  }

  /** An element. `text` is never parsed as HTML; `on` has listeners; an attribute that is null is left out. */
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

  /** A layer's name as nodes that may break across lines after a dot or an underscore, not inside a word. */
  const breakable = (name) => name.split(/(?<=[._])/).flatMap((part, at) => (at ? [el("wbr"), part] : [part]));

  const power = (value, digits) => value.toExponential(digits).replace("e+", "e").replace("-", "−").replace("e-", "e−");

  /** A number with this many significant digits, as a power of ten where it is very large or small. */
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

  /** A bound rounded up to two digits, so that the statement stays true. */
  function bound(value) {
    const unit = 10 ** (Math.floor(Math.log10(value)) - 1);
    return value > 0 ? `≤ ${number(Math.ceil(value / unit - 1e-9) * unit, 2)}` : "0";
  }

  /** A share in percent; a very small one as a plain number. */
  const percent = (value, digits, unit = " %") => (value >= 1e-4 ? `${number(100 * value, digits)}${unit}` : number(value, digits));

  const count = (n, noun) => `${n.toLocaleString("en-US")} ${noun}${n === 1 ? "" : "s"}`;

  /** A quantile of sorted numbers, between neighbours in proportion, as NumPy has it. */
  function quantile(sorted, share) {
    const at = share * (sorted.length - 1), below = Math.floor(at);
    return sorted.length ? sorted[below] + (at - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]) : NaN;
  }

  const median = (values) => quantile(values.filter(Number.isFinite).sort((a, b) => a - b), 0.5);

  /* Theme: the reader's choice, else the preference of the system. */
  const system = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];
  let chosen = "auto";
  const dark = () => (chosen === "auto" ? system.matches : chosen === "dark");

  function choose(theme, keep = true) {
    chosen = theme;
    document.documentElement.dataset.theme = dark() ? "dark" : "light";
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      const mine = button.dataset.themeChoice === theme;
      button.setAttribute("aria-checked", String(mine));
      button.tabIndex = mine ? 0 : -1;
    }
    try { if (keep) localStorage.setItem("alpha-hill-theme", theme); } catch { /* some browsers forbid it for files */ }
    for (const act of listeners) act();
  }

  /** Let arrow keys move and choose inside a group of radio buttons; `act` gets the button. */
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
    data, unpack, decode, el, plain, breakable, number, signed, count, quantile, median, bound, percent, choice, dark, words,
    /** Call `act` whenever the theme changes. */
    onTheme: (act) => listeners.push(act),
    theme: () => chosen,
    /** Change the theme without keeping it as the choice of the reader. */
    setTheme: (theme) => choose(theme, false),
    /** The value of a CSS variable in this theme: token("ink"). */
    token: (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(),
  };
})();
