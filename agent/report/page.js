"use strict";
// Shows the errors a page at a time, filtered by gap and by what became of them. Without it, all of them show.
(() => {
  const byGap = document.getElementById("by-gap");
  if (!byGap) return;
  const PAGE = 20;
  const byCured = document.getElementById("by-cured");
  const more = document.getElementById("more");
  const cards = [...document.querySelectorAll(".error")];
  let limit = PAGE;

  function update() {
    const matching = cards.filter((card) =>
      (!byGap.value || card.dataset.gap === byGap.value) && (!byCured.value || card.dataset.cured === byCured.value));
    const shown = new Set(matching.slice(0, limit));
    for (const card of cards) card.hidden = !shown.has(card);
    document.getElementById("shown").textContent = `${shown.size} of ${matching.length} shown`;
    more.hidden = shown.size === matching.length;
  }
  function restart() {
    limit = PAGE;
    update();
  }
  byGap.addEventListener("change", restart);
  byCured.addEventListener("change", restart);
  more.addEventListener("click", () => { limit += PAGE; update(); });
  for (const link of document.querySelectorAll("[data-show-gap]")) {
    link.addEventListener("click", () => {
      byGap.value = link.dataset.showGap;
      byCured.value = "";
      if (byGap.selectedIndex < 0) byGap.value = "";
      restart();
    });
  }
  document.querySelector(".filter").hidden = false;
  update();
})();
