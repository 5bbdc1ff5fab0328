"use strict";
/* AH.state: what the page shows, in its address: #layers&layer=lm_head&p=int4&v=error. It is read when the page opens;
   a link to such an address shows the same. The first word is the section, as in a plain link to one. */
AH.state = (() => {
  const parse = () => {
    const words = location.hash.slice(1).split("&");
    return {
      section: words.find((word) => !word.includes("=")) || "",
      values: new URLSearchParams(words.filter((word) => word.includes("=")).join("&")),
    };
  };
  let {section, values} = parse();
  const scroll = () => section && document.getElementById(section)?.scrollIntoView();

  function write() {
    const hash = [section, values.toString()].filter(Boolean).join("&");
    try { history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search); } catch { /* a frame that has no address */ }
  }

  /** A link to a section keeps the rest; another address is another page. */
  addEventListener("hashchange", () => {
    const next = parse(), other = next.values.toString();
    section = next.section;
    if (!other) write();
    else if (other !== values.toString()) location.reload();
    else scroll();
  });
  if (values.size) addEventListener("load", scroll); // the browser itself finds a section only where its name is all

  const get = (key) => values.get(key);
  /** Change values: set({p: "int4", layer: null}); null leaves one out. */
  function set(changes) {
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === "") values.delete(key);
      else values.set(key, value);
    }
    write();
  }

  /** A choice (AH.choice) that the address keeps: {group, show, value}, with the value that the page opens with. */
  function choice(key, label, options, otherwise, act) {
    const value = options.some(([name]) => name === get(key)) ? get(key) : otherwise;
    return {value, ...AH.choice(label, options, value, (chosen) => { set({[key]: chosen}); act(chosen); })};
  }
  return {get, set, choice};
})();
