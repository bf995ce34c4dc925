/* What the pages do beyond HTML: forms in a dialog, ages that go on counting, and honest live regions.
   Everything works without it: links lead to full pages, forms are sent by the browser. */
"use strict";

(() => {
  const dialog = () => document.getElementById("dialog");

  /* Forms in a dialog: links with hx-target="#dialog-body" fill it, and then it opens. */
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "dialog-body") return;
    if (!dialog().open) {
      document.querySelectorAll("details.menu[open]").forEach((menu) => menu.removeAttribute("open"));
      dialog().showModal();
    }
    const refusal = dialog().querySelector("[role=alert]");
    const first = dialog().querySelector("[autofocus], input:not([type=hidden]), select, textarea");
    (refusal || first || dialog().querySelector("button"))?.focus();
  });

  document.addEventListener("click", (event) => {
    if (event.target === dialog()) dialog().close();
    const close = event.target.closest("[data-close]");
    if (close && dialog()?.contains(close)) {
      event.preventDefault();
      dialog().close();
    }
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      if (!menu.contains(event.target)) menu.removeAttribute("open");
    });
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      menu.removeAttribute("open");
      menu.querySelector("summary").focus();
    });
  });

  /* One click, one request: the button is off while its form is on the way. */
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post" || event.target.hasAttribute("hx-post")) return;
    const button = event.submitter;
    if (button) setTimeout(() => { button.disabled = true; }, 0);
  });

  /* A page taken out of the browser's memory shows an old estate: load it again. */
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });

  /* Ages go on counting between two loads. The steps are those of the server's filter `age`. */
  const words = (seconds) => {
    if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  };
  const skew = Date.now() - Date.parse(document.documentElement.dataset.now || new Date().toISOString());
  const count = () => {
    const now = Date.now() - skew;
    document.querySelectorAll("time[data-age]").forEach((element) => {
      const seconds = (now - Date.parse(element.dateTime)) / 1000;
      element.textContent = `${words(seconds)}${element.dataset.age}`;
      const limit = Number(element.dataset.staleAfter || 0);
      if (limit) element.classList.toggle("stale", seconds > limit);
    });
  };
  setInterval(count, 1000);

  /* A live region that cannot be refreshed says so; one that may no longer be seen gives way to the page's answer. */
  const live = (event) => event.detail.elt.closest?.("[data-live]");
  const lost = (region, shown) => {
    const notice = document.getElementById("live-lost");
    if (region && notice) notice.hidden = !shown;
  };
  document.addEventListener("htmx:sendError", (event) => lost(live(event), true));
  document.addEventListener("htmx:responseError", (event) => {
    const region = live(event);
    if (!region) return;
    if ([403, 404].includes(event.detail.xhr.status)) location.reload();
    else lost(region, true);
  });
  document.addEventListener("htmx:afterOnLoad", (event) => lost(live(event), false));
})();
