"use strict";
// Shows the items a page at a time, filtered by outcome and by gap. Without it, all of them show.
(() => {
  const byGap = document.getElementById("by-gap");
  if (!byGap) return;
  const PAGE = 20;
  const byOutcome = document.getElementById("by-outcome");
  const more = document.getElementById("more");
  const cards = [...document.querySelectorAll(".error")];
  const groups = [...document.querySelectorAll(".group")];
  let limit = PAGE;

  function update() {
    const matching = cards.filter((card) =>
      (!byGap.value || card.dataset.gaps.split(" ").includes(byGap.value)) &&
      (!byOutcome.value || card.dataset.outcome === byOutcome.value));
    const shown = new Set(matching.slice(0, limit));
    for (const card of cards) card.hidden = !shown.has(card);
    for (const group of groups) group.hidden = !group.querySelector(".error:not([hidden])");
    document.getElementById("shown").textContent = `${shown.size} of ${matching.length} shown`;
    more.hidden = shown.size === matching.length;
  }
  function show(outcome, gap) {
    byOutcome.value = outcome;
    byGap.value = gap;
    if (byGap.selectedIndex < 0) byGap.value = "";
    limit = PAGE;
    update();
  }
  byGap.addEventListener("change", () => show(byOutcome.value, byGap.value));
  byOutcome.addEventListener("change", () => show(byOutcome.value, byGap.value));
  more.addEventListener("click", () => { limit += PAGE; update(); });
  for (const link of document.querySelectorAll("[data-show-gap]")) {
    link.addEventListener("click", () => show("", link.dataset.showGap));
  }
  for (const link of document.querySelectorAll("[data-show-outcome]")) {
    link.addEventListener("click", () => show(link.dataset.showOutcome, ""));
  }
  document.querySelector(".filter").hidden = false;
  update();
})();
// Shows a picture larger: by click, Enter or space; closed by Escape, click or the button.
(() => {
  const zoom = document.getElementById("zoom");
  const large = zoom.querySelector("img");
  for (const picture of document.querySelectorAll(".pictures img")) {
    picture.tabIndex = 0;
    picture.setAttribute("role", "button");
    picture.setAttribute("aria-label", "enlarge the picture");
  }
  function open(picture) {
    large.src = picture.src;
    large.className = picture.className;
    zoom.showModal();
  }
  document.addEventListener("click", (event) => {
    if (zoom.open) zoom.close();
    else if (event.target.matches(".pictures img")) open(event.target);
  });
  document.addEventListener("keydown", (event) => {
    if (!zoom.open && (event.key === "Enter" || event.key === " ") && event.target.matches(".pictures img")) {
      event.preventDefault();
      open(event.target);
    }
  });
})();
