"use strict";
(function () {
  // Every foreign word goes into the page as text, never as markup.
  const data = JSON.parse(document.getElementById("data").textContent);
  const list = document.getElementById("list");
  const detail = document.getElementById("detail");
  const search = document.getElementById("search");
  const sort = document.getElementById("sort");
  const count = document.getElementById("count");
  const HEIGHT = 34;
  let browser = data.browsers[0];
  let shown = [];
  let at = 0;

  const names = (kind) => (kind === "t" ? data.texts : data.videos);
  const queries = () => names(browser.direction[0]);
  const items = () => names(browser.direction[2]);
  const caption = (id) =>
    Object.prototype.hasOwnProperty.call(data.captions, id) ? data.captions[id] : "";

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // Of 1 / place, so that what comes to the top counts more than what moves far down the list.
  function gain(i) {
    const before = browser.rankBefore[i], after = browser.rankAfter[i];
    return before === null || after === null ? null : 1 / after - 1 / before;
  }

  function choose() {
    const wanted = search.value.trim().toLowerCase();
    const ids = queries();
    shown = [];
    for (let i = 0; i < ids.length; i++) {
      if (!wanted || ids[i].toLowerCase().includes(wanted) ||
          caption(ids[i]).toLowerCase().includes(wanted)) shown.push(i);
    }
    const key = {
      gain: (i) => (gain(i) === null ? Infinity : -gain(i)),
      loss: (i) => (gain(i) === null ? Infinity : gain(i)),
      worst: (i) => (browser.rankAfter[i] === null ? Infinity : -browser.rankAfter[i]),
      order: (i) => i,
    }[sort.value];
    shown.sort((a, b) => { const x = key(a), y = key(b); return x === y ? a - b : x < y ? -1 : 1; });
    at = 0;
    list.scrollTop = 0;
    count.textContent = shown.length + " of " + ids.length + " queries";
    draw();
    show();
  }

  // Only the rows in sight are in the document, so that 10,000 queries cost as much as 20.
  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 3);
    const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / HEIGHT) + 6);
    const height = make("div");
    height.setAttribute("role", "presentation");
    height.style.height = shown.length * HEIGHT + "px";
    const rows = [height];
    for (let place = first; place < last; place++) {
      const i = shown[place], id = queries()[i];
      const row = make("div", place === at ? "row on" : "row");
      row.style.top = place * HEIGHT + "px";
      row.setAttribute("role", "option");
      row.id = "q" + i;
      row.setAttribute("aria-selected", place === at ? "true" : "false");
      row.append(make("b", "", caption(id) || id));
      const change = gain(i);
      if (change !== null) {
        row.append(make("span", change > 0 ? "up" : change < 0 ? "down" : "",
          browser.rankBefore[i] + " \u2192 " + browser.rankAfter[i]));
      }
      if (browser.confidence) {
        row.append(make("span", "sure", Math.round(100 * browser.confidence[i]) + " %"));
      }
      row.addEventListener("click", () => { at = place; draw(); show(); });
      rows.push(row);
    }
    list.replaceChildren(...rows);
    // Only a row that is in the document can be pointed at.
    if (at >= first && at < last) list.setAttribute("aria-activedescendant", "q" + shown[at]);
    else list.removeAttribute("aria-activedescendant");
  }

  function entry(j, score, right) {
    const id = items()[j];
    const line = make("li", right ? "right" : "");
    if (Object.prototype.hasOwnProperty.call(data.thumbnails, id)) {
      const image = make("img", "thumb");
      image.src = data.thumbnails[id];
      image.alt = "";
      line.append(image);
    }
    line.append(document.createTextNode((right ? "\u2713 " : "") + id + " "));
    if (caption(id)) line.append(make("small", "", caption(id) + " "));
    if (score !== null) line.append(make("small", "", String(score)));
    return line;
  }

  function side(title, indices, scores, right) {
    const box = make("div");
    box.append(make("strong", "", title));
    const places = make("ol");
    indices.forEach((j, place) => { if (j >= 0) places.append(entry(j, scores[place], right.has(j))); });
    box.append(places);
    return box;
  }

  function show() {
    detail.replaceChildren();
    if (!shown.length) {
      detail.append(make("p", "muted", "No query matches; clear the search."));
      return;
    }
    const i = shown[at], id = queries()[i], right = new Set(browser.truth[i] || []);
    detail.append(make("h3", "", id));
    if (caption(id)) detail.append(make("p", "", caption(id)));
    if (Object.prototype.hasOwnProperty.call(data.thumbnails, id)) {
      const image = make("img", "thumb");
      image.src = data.thumbnails[id];
      image.alt = "";
      detail.append(image);
    }
    if (browser.rankBefore[i] !== null) {
      detail.append(make("p", "muted", "Place of the best right item: " + browser.rankBefore[i] +
        (browser.rankAfter[i] === null ? "." : " before, " + browser.rankAfter[i] + " after.")));
    }
    if (browser.confidence) {
      detail.append(make("p", "muted", "Confidence of the first result: " +
        browser.confidence[i].toFixed(2) + "; that nothing here is right: " +
        browser.noMatch[i].toFixed(2) + "."));
    }
    if (right.size) {
      const known = [...right].slice(0, 5).map((j) => items()[j]).join(", ");
      detail.append(make("p", "muted", "Right: " + known + (right.size > 5 ? ", \u2026" : "")));
    }
    const sides = make("div", "sides");
    const alone = browser.after === null;
    sides.append(side(alone ? "found" : "before", browser.before[i], browser.beforeScores[i], right));
    if (!alone) sides.append(side(browser.name, browser.after[i], browser.afterScores[i], right));
    detail.append(sides);
  }

  function move(step) {
    if (!shown.length) return;
    at = Math.min(shown.length - 1, Math.max(0, at + step));
    const top = at * HEIGHT;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + HEIGHT > list.scrollTop + list.clientHeight) {
      list.scrollTop = top + HEIGHT - list.clientHeight;
    }
    draw();
    show();
  }

  const buttons = data.browsers.map((one) => {
        const button = make("button", "", data.words[one.direction].join(" \u2192 "));
    button.type = "button";
    button.addEventListener("click", () => turn(one));
    document.getElementById("directions").append(button, document.createTextNode(" "));
    return button;
  });

  function turn(one) {
    browser = one;
    buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(data.browsers[i] === one)));
    choose();
  }

  list.addEventListener("scroll", draw);
  search.addEventListener("input", choose);
  sort.addEventListener("change", choose);
  document.addEventListener("keydown", (event) => {
    const typing = event.target === search || event.target === sort;
    if (event.key === "Escape" && typing) { list.focus(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const inside = event.target === list || event.target === document.body;
    if (!inside) return;
    const step = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    // Away from the list, arrows scroll the page as everywhere.
    if (step && (event.target === list || event.key.length === 1)) {
      event.preventDefault();
      move(step);
    } else if (event.key === "/") {
      event.preventDefault();
      search.focus();
    } else if (event.key === "d" && data.browsers.length > 1) {
      turn(data.browsers[(data.browsers.indexOf(browser) + 1) % data.browsers.length]);
    }
  });
  window.addEventListener("resize", draw);
  if (data.browsers.every((one) => one.rankBefore.every((rank) => rank === null))) {
    // Without a ground truth there is nothing to sort by.
    sort.value = "order";
    sort.hidden = true;
  } else if (data.browsers.every((one) => one.after === null)) {
    sort.value = "order";
  }
  turn(browser);
})();
