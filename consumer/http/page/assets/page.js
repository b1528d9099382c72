// Updates the parts of the page that have changed, and keeps focus and scroll positions.
(() => {
  "use strict";
  const SECONDS = 5;
  const button = document.getElementById("pause");
  const state = document.getElementById("state");
  let timer = 0;

  const replace = (fresh, id) => {
    const from = fresh.getElementById(id);
    const to = document.getElementById(id);
    if (!from || !to || from.innerHTML === to.innerHTML) return;
    const scrolled = [...to.querySelectorAll(".scroll")].map((region) => region.scrollLeft);
    const focused = [...to.querySelectorAll(".scroll")].indexOf(document.activeElement);
    to.replaceChildren(...from.childNodes);
    to.querySelectorAll(".scroll").forEach((region, place) => {
      region.scrollLeft = scrolled[place] || 0;
      if (place === focused) region.focus({ preventScroll: true });
    });
  };

  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store" });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[id^='part-']")) replace(fresh, part.id);
      replace(fresh, state.id);
    } catch {
      const said = "The service does not answer; the figures are not current.";
      if (state.textContent !== said) state.textContent = said;
    }
  };

  const run = (paused) => {
    clearInterval(timer);
    if (!paused) timer = setInterval(refresh, SECONDS * 1000);
    button.setAttribute("aria-pressed", String(paused));
  };

  button.addEventListener("click", () => run(button.getAttribute("aria-pressed") === "false"));
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && button.getAttribute("aria-pressed") === "false") refresh();
  });
  button.hidden = false;
  run(false);
})();
