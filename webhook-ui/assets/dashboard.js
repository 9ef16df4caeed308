// What pages do where there are scripts: live updates, keys, dialogs, copying, local times. Each page works without.
"use strict";
(() => {
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const { base, keys: hasKeys, zone } = document.documentElement.dataset;
  // Nobody has signed in: the page is a form.
  if (!find("#live")) return;
  const announce = (text) => { find("#announce").textContent = text; };
  // A text that has not changed is not written again: whoever has selected it would lose the selection.
  const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  // The only way from text to markup. The server escapes texts of senders; what still has a script is not shown.
  const active = /<(?:script|iframe|object|embed|base|meta|link|style|foreignobject)\b|<[^>]*\s(?:on\w+|srcdoc)\s*=/i;
  const check = (text) => {
    if (active.test(text.replace(/"[^"]*"/g, '""'))) throw new TypeError("markup with scripts is refused");
    return text;
  };
  const policy = window.trustedTypes?.createPolicy("dashboard", { createHTML: check }) ?? { createHTML: check };
  htmx.registerExtension("dashboard", { init: (api) => api.initSecurity(policy) });

  // Shows what the server has at `url`, as the options of htmx say, unless it `isUnwanted` by then.
  const swap = async (url, headers, options, isUnwanted) => {
    const signal = AbortSignal.timeout(10_000);
    const response = await fetch(url, { headers: { "hx-request": "true", ...headers }, signal });
    // The session has ended: the page asks to sign in, unless somebody is typing or has selected something.
    if (response.status === 401 && !isBusy()) location.reload();
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const text = await response.text();
    if (!isUnwanted?.()) await htmx.swap({ text, sourceElement: document.body, ...options });
  };

  // Times
  const lengthOf = (seconds) => {
    const short = (number) => Number(number.toFixed(number < 9.95 ? 1 : 0));
    if (seconds < 90) return `${Math.round(seconds)} s`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
    return seconds < 129600 ? `${short(seconds / 3600)} h` : `${short(seconds / 86400)} d`;
  };
  // Sweden writes times as the server does: 2026-01-02 03:04:05.
  const local = (date) => date.toLocaleString("sv", { timeZoneName: "shortOffset" }).replace("GMT", "UTC");
  const showTimes = () => {
    for (const time of all("time[data-time]")) {
      const date = new Date(time.dateTime);
      const isExact = time.dataset.time === "exact";
      if (!isExact) {
        const age = (Date.now() - date) / 1000;
        const past = lengthOf(Math.max(age, 0));
        const since = time.dataset.time === "due" ? `due for ${past}` : `${past} ago`;
        write(time, age < -0.5 ? `in ${lengthOf(-age)}` : since);
      }
      if (zone !== "local") continue;
      if (isExact) write(time, local(date));
      else time.title = local(date);
    }
  };

  // Live updates
  let source, sample;
  let isHeld = false;
  let state = "off";
  const isAway = () => document.hidden || isHeld;
  const isBusy = () => isAway() || find("dialog[open], [data-select]:checked") || !getSelection().isCollapsed
    || document.activeElement?.matches("#page :is(input, select, textarea)");
  const showState = () => {
    const button = find("#live");
    const shown = state === "live" && isBusy() ? "paused" : state;
    // The stream of a page that shows a moment is for its banners only.
    button.hidden = find("#page").dataset.live === "off" && shown !== "lost";
    button.dataset.state = shown;
    button.setAttribute("aria-pressed", isHeld);
    write(find("#live-text"), { off: "live", lost: "lost, trying again" }[shown] ?? shown);
  };
  const load = async (target, url, isUnwanted) => {
    const { version } = find("#banners").dataset;
    await swap(url, { "dashboard-live": "true" }, { target, swap: "outerMorph" }, isUnwanted);
    if (find("#banners").dataset.version !== version) announce("The outages and warnings on this page have changed");
    showTimes();
  };
  const loadBanners = () => load("#banners", `${base}/banners`).catch(() => {});
  let isLoading = false;
  // Loads what is older than the latest sample. What cannot be loaded now is loaded some seconds later.
  const catchUp = async (isRegular) => {
    if (!sample) return;
    const { live, numbers, version } = find("#page").dataset;
    const isOld = sample.versions[numbers] !== version || (live === "always" && isRegular);
    if (isOld && !isLoading && !isBusy()) {
      isLoading = true;
      const next = await load("#page", location.href, isBusy).then(() => "live", () => "lost");
      isLoading = false;
      if (source) state = next;
    }
    // Banners hold nothing that is typed or selected, and need no store: they are loaded also if the page is not.
    if (sample && find("#banners").dataset.version !== sample.banners) loadBanners();
    showState();
  };
  const showCounts = () => {
    if (sample.failed !== null) write(find("#failed-count"), sample.failed);
    const fresh = find("#new-events");
    const count = sample.events - fresh?.dataset.events;
    if (count > 0) write(fresh, `${count.toLocaleString("en")} new, show`);
  };
  const disconnect = (next) => {
    source?.close();
    source = sample = undefined;
    state = next;
    showState();
  };
  // Listens to the stream while somebody can see the page.
  const follow = () => {
    if (isAway()) return disconnect("paused");
    if (source) return;
    source = new EventSource(`${base}/live`);
    source.addEventListener("page", (event) => {
      sample = JSON.parse(event.data);
      state = "live";
      showCounts();
      catchUp();
    });
    source.addEventListener("error", () => {
      disconnect("lost");
      // If the session has ended, the answer says so.
      loadBanners();
    });
  };
  const hold = () => {
    isHeld = !isHeld;
    announce(`Live updates are ${isHeld ? "paused" : "on"}`);
    follow();
  };

  // Dialogs: the content of another page of the dashboard
  const openDialog = async (url) => {
    try {
      await swap(url, {}, { target: "#dialog", select: "main > *", swap: "innerHTML" });
      find("#dialog").showModal();
    } catch {
      location.assign(url);
    }
  };

  // Selected rows
  let lastSelected;
  const showSelected = () => {
    const boxes = all("[data-select]");
    if (!boxes.length) return;
    const count = boxes.filter((box) => box.checked).length;
    find("#select-all").checked = count === boxes.length;
    find("#selected-count").textContent = count;
    find("#selected").hidden = count === 0;
  };
  const select = (box, isChecked, isRange) => {
    const boxes = all("[data-select]");
    const [from, to] = [boxes.indexOf(lastSelected), boxes.indexOf(box)].sort((a, b) => a - b);
    for (const each of isRange && from >= 0 ? boxes.slice(from, to + 1) : [box]) each.checked = isChecked;
    lastSelected = box;
    showSelected();
  };
  const selectAll = (isChecked) => {
    for (const box of all("[data-select]")) box.checked = isChecked;
    showSelected();
  };

  const copy = async (text, name, label) => {
    const isCopied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    announce(isCopied ? `${name} copied` : `${name} could not be copied: the browser does not allow it`);
    if (!isCopied || !label) return;
    label.textContent = "Copied";
    setTimeout(() => { label.textContent = "Copy"; }, 1500);
  };

  const clicks = {
    "#live": hold,
    "#select-all": (box) => selectAll(box.checked),
    "[data-select]": (box, isRange) => select(box, box.checked, isRange),
    "[data-copy]": (button) => {
      const text = document.getElementById(button.dataset.copy).textContent;
      copy(text, button.lastChild.textContent.trim(), button.firstChild);
    },
    "a[data-dialog]": (link) => openDialog(link.href),
    "dialog [data-close]": () => find("#dialog").close(),
  };
  document.addEventListener("click", (event) => {
    for (const [selector, act] of Object.entries(clicks)) {
      const target = event.target.closest(selector);
      if (!target) continue;
      if (target.matches("a")) {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
      }
      act(target, event.shiftKey);
    }
  });

  // Keys: those of elements have the attribute `data-press`.
  let goesUntil = 0;
  const move = (step) => {
    const rows = all("[data-href]");
    const index = rows.indexOf(document.activeElement?.closest("[data-href]"));
    (rows[index + step] ?? rows.at(index))?.focus();
  };
  const selectRow = (row, isRange) => {
    const box = find("[data-select]", row);
    if (box) select(box, isRange || !box.checked, isRange);
  };
  const keys = {
    "/": () => find("#search").focus(),
    "?": () => openDialog(`${base}/settings?to=${encodeURIComponent(location.pathname + location.search)}`),
    "*": () => selectAll(true),
    j: () => move(1),
    k: () => move(-1),
  };
  const rowKeys = {
    Enter: (row) => location.assign(row.dataset.href),
    x: (row) => selectRow(row, false),
    X: (row) => selectRow(row, true),
    y: (row) => row.dataset.key && copy(row.dataset.key, "The key"),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || hasKeys !== "on" || find("dialog[open]")) return;
    const focused = document.activeElement ?? document.body;
    if (focused.matches("input:not([type=checkbox], [type=radio]), select, textarea")) {
      if (event.key === "Escape") focused.blur();
      return;
    }
    const key = event.timeStamp < goesUntil ? `g ${event.key}` : event.key;
    goesUntil = key === "g" ? event.timeStamp + 1500 : 0;
    const row = focused.matches("[data-href], [data-select]") && focused.closest("[data-href]");
    const pressed = find(`[data-press="${CSS.escape(key)}"]:not([hidden], [hidden] *)`);
    const act = (row && rowKeys[key]) || keys[key] || (pressed && (() => pressed.click()));
    if (!act) return;
    event.preventDefault();
    act(row);
  });

  showTimes();
  showSelected();
  showState();
  follow();
  document.addEventListener("visibilitychange", follow);
  setInterval(() => { showTimes(); showState(); }, 1000);
  setInterval(() => { follow(); catchUp(true); }, 4000);
})();
