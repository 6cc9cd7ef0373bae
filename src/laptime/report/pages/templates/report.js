"use strict";
// Draws the charts, sorts long tables, switches the theme. Without it tables and text are complete.

const WORDS = getComputedStyle(document.body).fontFamily;

function configFor(width) {
  const narrow = width < 480;
  return {
    font: WORDS,
    background: "transparent",
    view: { stroke: null },
    axis: {
      domainColor: "#888888", tickColor: "#888888", gridColor: "#888888", gridOpacity: 0.25,
      labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelFlush: false,
      labelLimit: narrow ? 110 : 240,
    },
    axisX: { labelOverlap: "greedy" },
    legend: {
      labelFontSize: 12, orient: "bottom", symbolOpacity: 1, labelLimit: narrow ? 260 : 320,
      columns: narrow ? 1 : 0,
    },
  };
}

async function draw(place) {
  const spec = JSON.parse(document.getElementById(place.dataset.chart).textContent);
  await vegaEmbed(place, spec, {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false,
    config: configFor(place.clientWidth), tooltip: { theme: "custom", defaultStyle: false, disableDefaultStyle: true },
  });
  // The place itself says what the chart shows; its marks one by one would be noise.
  place.querySelector("svg").setAttribute("aria-hidden", "true");
  place.dataset.drawn = "true";
}

async function drawAll() {
  for (const place of document.querySelectorAll("[data-chart]")) {
    try {
      await draw(place);
    } catch (error) {
      place.dataset.drawn = "failed";
      console.error(error);
    }
  }
  document.documentElement.dataset.charts = "done";
}

function keyOf(cell) {
  const text = cell.textContent.replace(/[\s\u2007,]/g, "");
  const number = parseFloat(text.replace(/^epoch/, ""));
  return Number.isNaN(number) ? cell.textContent : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number" || typeof b === "number") return typeof a === "number" ? -1 : 1;
  return a.localeCompare(b);
}

function sortBy(table, column, head) {
  const falling = head.getAttribute("aria-sort") === "ascending";
  const body = table.tBodies[0];
  const rows = Array.from(body.rows).map((row) => [keyOf(row.cells[column]), row]);
  rows.sort((a, b) => compare(a[0], b[0]) * (falling ? -1 : 1));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  body.append(...rows.map((pair) => pair[1]));
}

for (const table of document.querySelectorAll("table[data-sortable]")) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent || "name";
    head.replaceChildren(button);
    button.addEventListener("click", () => sortBy(table, column, head));
  });
}

const theme = document.getElementById("theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

drawAll();
