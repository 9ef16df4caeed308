// What pages do where there are scripts: live updates, keys, dialogs, copying, local times. Each page works without.
"use strict";
(() => {
  const root = document.documentElement;
  const base = root.dataset.base;
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const announce = (text) => { find("#announce").textContent = text; };

  // The only way from text to markup. The server escapes texts of senders; what still has a script is not shown.
  const active = /<(?:script|iframe|object|embed|base|meta|link|style|foreignobject)\b|<[^>]*\s(?:on\w+|srcdoc)\s*=/i;
  const check = (text) => {
    if (active.test(text.replace(/"[^"]*"/g, '""'))) throw new TypeError("markup with scripts is refused");
    return text;
  };
  const policy = window.trustedTypes?.createPolicy("dashboard", { createHTML: check }) ?? { createHTML: check };
  // What somebody has opened stays open when the page loads its content again.
  htmx.config.morphIgnore.push("open");
  htmx.registerExtension("dashboard", { init: (api) => api.initSecurity(policy) });

  const fetchContent = async (url, background) => {
    const headers = { "hx-request": "true" };
    if (background) headers["dashboard-live"] = "true";
    const response = await fetch(url, { headers, credentials: "same-origin", signal: AbortSignal.timeout(10_000) });
    // The session has ended: the page asks to sign in, unless somebody is typing or has selected something.
    if (response.status === 401 && !isBusy()) location.reload();
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return response.text();
  };

  // Times
  const lengthOf = (seconds) => {
    const short = (number) => number < 9.95 ? String(Math.round(number * 10) / 10) : String(Math.round(number));
    if (seconds < 90) return `${Math.round(seconds)} s`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
    return seconds < 129600 ? `${short(seconds / 3600)} h` : `${short(seconds / 86400)} d`;
  };
  const two = (number) => String(number).padStart(2, "0");
  const local = (date) => {
    const zone = -date.getTimezoneOffset();
    const name = `UTC${zone < 0 ? "−" : "+"}${Math.floor(Math.abs(zone) / 60)}${zone % 60 ? `:${two(Math.abs(zone) % 60)}` : ""}`;
    return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} `
      + `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())} ${name}`;
  };
  const showTimes = () => {
    for (const time of all("time[data-time]")) {
      const date = new Date(time.dateTime);
      if (time.dataset.time === "ago") {
        const age = (Date.now() - date) / 1000;
        const text = age < -0.5 ? `in ${lengthOf(-age)}` : `${lengthOf(Math.max(age, 0))} ago`;
        if (time.textContent !== text) time.textContent = text;
        if (root.dataset.zone === "local") time.title = local(date);
      } else if (root.dataset.zone === "local") {
        time.textContent = local(date);
      }
    }
  };

  // Live updates
  let source, events, timer;
  let held = false;
  let state = "off";
  const mode = () => find("#page").dataset.live;
  const hasFocusInField = () => document.activeElement?.matches("#page input, #page textarea, #page select");
  const isBusy = () => document.hidden || held || find("#dialog").open || hasFocusInField()
    || find("[data-select]:checked") || !window.getSelection().isCollapsed;
  const followsContent = () => ["reload", "always"].includes(mode());
  const words = { live: "live", paused: "paused", lost: "lost, trying again", off: "live" };
  const showState = () => {
    const button = find("#live");
    if (!button) return;
    const shown = state === "live" && isBusy() ? "paused" : state;
    // The stream of a page that shows a moment is for its banners only.
    button.hidden = mode() === "off" && shown !== "lost";
    button.dataset.state = shown;
    button.setAttribute("aria-pressed", String(held));
    button.title = held ? "Live updates are paused. Resume (.)" : "Pause live updates (.)";
    find("#live-text").textContent = words[shown];
  };
  let isLoading = false;
  // Whether the content was loaded.
  const load = async () => {
    if (isLoading) return false;
    isLoading = true;
    try {
      const text = await fetchContent(location.href, true);
      if (isBusy()) return false;
      await htmx.swap({ text, target: "#page", swap: "outerMorph", sourceElement: document.body });
      dress();
      return true;
    } finally {
      isLoading = false;
    }
  };
  // Banners hold nothing that is typed or selected, so they are replaced also while the rest of the page is not.
  const loadBanners = async () => {
    const text = await fetchContent(`${base}/banners`, true);
    const before = find("#banners").dataset.version;
    await htmx.swap({ text, target: "#banners", swap: "outerMorph", sourceElement: document.body });
    if (find("#banners").dataset.version !== before) announce("The outages and warnings on this page have changed");
    showTimes();
  };
  // The versions that the stream has sent last, and those for which the content and the banners were loaded.
  let versions, shown, banners, shownBanners;
  const catchUpBanners = async () => {
    const wanted = banners;
    if (!wanted || wanted === shownBanners || document.hidden || held) return;
    if (find("#banners").dataset.version !== wanted) await loadBanners();
    shownBanners = wanted;
  };
  const catchUp = async () => {
    await catchUpContent();
    // A page that needs the store cannot be loaded while the store is away, and gets its banners nevertheless.
    await catchUpBanners().catch(() => {});
  };
  const catchUpContent = async () => {
    const wanted = versions;
    if (!wanted || wanted === shown || mode() !== "reload" || isBusy()) return;
    const { numbers, version } = find("#page").dataset;
    try {
      if (wanted[numbers] === version || await load()) shown = wanted;
      if (source?.readyState === EventSource.OPEN) state = "live";
    } catch {
      state = "lost";
    }
    showState();
  };
  const sampled = (sample) => {
    const count = find("#failed-count");
    if (count && sample.failed !== null) {
      count.textContent = sample.failed;
      count.hidden = sample.failed === "0";
    }
    events ??= sample.events;
    const fresh = find("#new-events");
    if (mode() === "count" && fresh && sample.events > events) {
      const number = sample.events - events;
      fresh.textContent = `${number.toLocaleString("en")} new, show`;
      fresh.hidden = false;
    }
    versions = sample.versions;
    banners = sample.banners;
    catchUp();
    showState();
  };
  const connect = () => {
    clearTimeout(timer);
    if (source || !find("#banners") || document.hidden || held) return showState();
    source = new EventSource(`${base}/live`);
    source.addEventListener("open", () => { state = "live"; showState(); });
    source.addEventListener("page", (event) => {
      state = "live";
      sampled(JSON.parse(event.data));
    });
    source.addEventListener("error", () => {
      state = "lost";
      showState();
      // The browser tries again by itself, except after an answer that is no stream.
      if (source?.readyState !== EventSource.CLOSED) return;
      disconnect("lost");
      timer = setTimeout(() => { (followsContent() ? load() : loadBanners()).catch(() => {}); connect(); }, 5000);
    });
  };
  const disconnect = (next) => {
    source?.close();
    source = undefined;
    state = next;
    showState();
  };
  const hold = () => {
    held = !held;
    announce(held ? "Live updates are paused" : "Live updates are on");
    if (held) disconnect("paused"); else connect();
  };
  setInterval(() => {
    if (document.hidden) return;
    showTimes();
    showState();
  }, 1000);
  setInterval(() => {
    if (mode() === "always" && state === "live" && !isBusy()) load().catch(() => {});
    // What changed while the page was busy, or could not be loaded.
    catchUp();
  }, 4000);
  document.addEventListener("visibilitychange", () => { if (document.hidden) disconnect("paused"); else connect(); });
  window.addEventListener("pagehide", () => disconnect("off"));
  window.addEventListener("pageshow", (event) => { if (event.persisted) connect(); });

  // Dialogs: the content of another page of the dashboard
  const openDialog = async (url) => {
    const text = await fetchContent(url);
    const main = find("main", new DOMParser().parseFromString(policy.createHTML(text), "text/html"));
    const dialog = find("#dialog");
    dialog.replaceChildren(...main.childNodes);
    for (const form of all("form[method=post]", dialog)) {
      if (find("[name=to]", form)) continue;
      const to = Object.assign(document.createElement("input"), { type: "hidden", name: "to" });
      to.value = location.pathname + location.search;
      form.append(to);
    }
    dialog.showModal();
    dress();
  };

  // Selected rows
  let lastSelected;
  const select = (box, isChecked, isRange) => {
    const boxes = all("[data-select]");
    const [from, to] = [boxes.indexOf(lastSelected), boxes.indexOf(box)].sort((a, b) => a - b);
    const range = isRange && from >= 0 ? boxes.slice(from, to + 1) : [box];
    for (const each of range) each.checked = isChecked;
    lastSelected = box;
    showSelected();
  };
  const showSelected = () => {
    const count = all("[data-select]:checked").length;
    for (const element of all("[data-selected-count]")) element.textContent = count.toLocaleString("en");
    for (const element of all("[data-selected]")) element.hidden = count === 0;
    showState();
  };

  const copy = async (text, what) => {
    try {
      await navigator.clipboard.writeText(text);
      announce(`${what} copied`);
      return true;
    } catch {
      announce(`${what} could not be copied: the browser does not allow it`);
      return false;
    }
  };

  document.addEventListener("click", (event) => {
    const target = event.target.closest("a, button, input");
    if (!target) return;
    if (target.id === "live") hold();
    if (target.matches("[data-close]") && target.closest("dialog")) {
      event.preventDefault();
      find("#dialog").close();
    }
    if (target.matches("a[data-dialog]") && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      openDialog(target.href).catch(() => location.assign(target.href));
    }
    if (target.matches("[data-copy]")) {
      const text = document.getElementById(target.dataset.copy)?.textContent ?? "";
      copy(text, target.textContent.replace("Copy ", "")).then((done) => {
        if (!done) return;
        target.dataset.done = "true";
        target.firstChild.textContent = "Copied";
        setTimeout(() => { target.firstChild.textContent = "Copy"; }, 1500);
      });
    }
    if (target.matches("[data-select]")) select(target, target.checked, event.shiftKey);
    if (target.matches("[data-select-all]")) {
      for (const box of all("[data-select]")) box.checked = target.checked;
      showSelected();
    }
  });

  // Keys
  let goes = false;
  const isTyping = (element) => element?.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  const press = (key) => {
    const pressed = find(`[data-press="${CSS.escape(key)}"]`);
    pressed?.click();
    return Boolean(pressed);
  };
  const move = (step) => {
    const rows = all("[data-row][data-href]");
    if (!rows.length) return false;
    const index = rows.indexOf(document.activeElement?.closest("[data-row]"));
    const next = rows[index < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(index + step, 0), rows.length - 1)];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    return true;
  };
  const keys = {
    "/": () => { find("#search")?.focus(); return true; },
    "?": () => { openDialog(`${base}/settings`).catch(() => location.assign(`${base}/settings`)); return true; },
    ".": () => { hold(); return true; },
    t: () => { find("#theme")?.click(); return true; },
    j: () => move(1),
    k: () => move(-1),
    "*": () => { for (const box of all("[data-select]")) box.checked = true; showSelected(); return true; },
    Escape: () => { const back = find("[data-back]"); if (back) location.assign(back.href); return Boolean(back); },
  };
  const rowKeys = {
    Enter: (row) => location.assign(row.dataset.href),
    x: (row) => { const box = find("[data-select]", row); if (box) select(box, !box.checked, false); },
    X: (row) => { const box = find("[data-select]", row); if (box) select(box, true, true); },
    y: (row) => copy(row.dataset.key ?? "", "The key"),
  };
  document.addEventListener("keydown", (event) => {
    const focused = document.activeElement;
    if (event.ctrlKey || event.metaKey || event.altKey || root.dataset.keys !== "on" || find("#dialog").open) return;
    if (isTyping(focused)) {
      if (event.key === "Escape") focused.blur();
      return;
    }
    const key = event.key;
    if (goes) {
      goes = false;
      const link = find(`[data-go="${CSS.escape(key)}"]`);
      if (link) location.assign(link.href);
      return;
    }
    if (key === "g") {
      goes = true;
      setTimeout(() => { goes = false; }, 1500);
      return;
    }
    const row = focused?.matches("[data-row]") ? focused : focused?.matches("[data-select]") ? focused.closest("[data-row]") : null;
    if (row && rowKeys[key]) rowKeys[key](row);
    else if (!(keys[key]?.() || (key.length === 1 && press(key)))) return;
    event.preventDefault();
  });

  // What only scripts can do is hidden without them.
  function dress() {
    for (const control of all("[data-copy], [data-select-all]")) control.hidden = false;
    showTimes();
    showState();
  }

  dress();
  showSelected();
  connect();
})();
