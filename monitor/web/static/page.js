// What the status page adds to its HTML where there is JavaScript: ages that go on, charts, a filter, and a word for
// screen readers when the verdict changes. The parts themselves are swapped by htmx as the server sends them.
"use strict";

const ahead = Number(document.body.dataset.now) - Date.now() / 1000; // how much further the server's clock is
const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function age(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const place = units.findIndex(([size]) => whole >= size);
  if (place < 0) return "0 s";
  const [size, unit] = units[place];
  const next = place < 2 ? units[place + 1] : null;
  const more = next ? Math.floor((whole % size) / next[0]) : 0;
  return `${Math.floor(whole / size)} ${unit}` + (more ? ` ${more} ${next[1]}` : "");
}

function tellAges() {
  const now = Date.now() / 1000 + ahead;
  for (const one of document.querySelectorAll(".age[data-at]")) {
    const gone = now - Number(one.dataset.at);
    const text = gone >= 0 ? `(${age(gone)} ago)` : `(in ${age(-gone)})`;
    if (one.textContent !== text) one.textContent = text;
  }
}

function draw(plot) {
  if (!window.uPlot) return;
  const { names, series } = JSON.parse(plot.dataset.chart);
  const style = getComputedStyle(plot);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  plot.replaceChildren();
  new uPlot({
    width: plot.clientWidth,
    height: plot.clientHeight,
    legend: { show: false },
    cursor: { show: false },
    padding: [6, 16, 0, 0],
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.05)] } },
    axes: [
      { ...axis, size: 22, values: [[60, "{HH}:{mm}", null, null, null, null, null, null, 1]] },
      { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5], space: 24 },
    ],
    series: [{}, ...names.map((name) => ({ stroke: colour(name), width: 2, points: { show: false } }))],
  }, series, plot);
}

function drawAll(within) {
  for (const plot of within.querySelectorAll(".plot[data-chart]")) draw(plot);
}

function filter(input) {
  const wanted = input.value.trim();
  for (const item of document.getElementById(input.dataset.filters).children) {
    item.hidden = wanted !== "" && !item.textContent.includes(wanted);
  }
}

function prepare(within) {
  for (const one of within.querySelectorAll(".filter")) one.hidden = false;
  drawAll(within);
  tellAges();
}

// A swap must not close what a reader has opened, nor take the focus or what was typed away.
const kept = new Map();

document.addEventListener("htmx:sseBeforeMessage", ({ target }) => {
  const active = target.contains(document.activeElement) ? document.activeElement : null;
  kept.set(target, {
    open: [...target.querySelectorAll("details[id]")].map((one) => [one.id, one.open]),
    typed: [...target.querySelectorAll("input[id]")].map((one) => [one.id, one.value]),
    focus: active && (active.id ? `#${CSS.escape(active.id)}` : active.getAttribute("href") && `a[href="${CSS.escape(active.getAttribute("href"))}"]`),
  });
});

document.addEventListener("htmx:sseMessage", ({ target }) => {
  const { open = [], typed = [], focus = null } = kept.get(target) ?? {};
  for (const [id, isOpen] of open) {
    const one = document.getElementById(id);
    if (one) one.open = isOpen;
  }
  prepare(target);
  for (const [id, value] of typed) {
    const one = document.getElementById(id);
    if (one && value) {
      one.value = value;
      filter(one);
    }
  }
  if (focus) (target.querySelector(focus) ?? target.querySelector("summary, a"))?.focus({ preventScroll: true });
  if (target.id === "part-verdict") {
    const title = target.querySelector("h1").textContent;
    const why = target.querySelector("p.why");
    document.title = `${title} · WhatsApp monitor`;
    // Not the live part itself: its ages change, and each would be read aloud.
    const words = why ? why.cloneNode(true) : null;
    words?.querySelectorAll(".age").forEach((one) => one.remove());
    document.getElementById("said").textContent = `${title}. ${words ? words.textContent.replace(/\s+/g, " ") : ""}`;
  }
});

const link = document.getElementById("link");
function tellLink(isLive) {
  link.textContent = isLive ? "Live" : "Connection lost: this is how it was. Trying again…";
  link.classList.toggle("lost", !isLive);
}
document.addEventListener("htmx:sseOpen", () => tellLink(true));
document.addEventListener("htmx:sseError", () => tellLink(false));

document.addEventListener("input", ({ target }) => {
  if (target.dataset.filters) filter(target);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
let width = 0;
new ResizeObserver(() => {
  if (document.body.clientWidth !== width) {
    width = document.body.clientWidth;
    drawAll(document);
  }
}).observe(document.body);
setInterval(tellAges, 5000);
prepare(document);
