"use strict";
/* The page on paper: light, as wide as the paper, with every chart drawn, every row and every folded part. */
(() => {
  const root = document.documentElement, before = [], after = [];
  let theme = null, closed = [];
  /** Call `act` before the page is printed, and `undo` after it. */
  AH.onPaper = (act, undo) => { before.push(act); after.push(undo); };

  addEventListener("beforeprint", () => {
    if (theme !== null) return;
    theme = AH.theme();
    root.classList.add("paper"); // gives the page its width on paper before charts are drawn
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
    for (const act of before) act();
    AH.setTheme("light");
    AH.drawAll();
  });
  addEventListener("afterprint", () => {
    if (theme === null) return;
    root.classList.remove("paper");
    for (const details of closed) details.open = false;
    for (const act of after) act();
    AH.setTheme(theme);
    theme = null;
    dispatchEvent(new Event("resize"));
  });
})();
