"use strict";
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const specs = JSON.parse(document.getElementById("charts").textContent);

function colour(name) {
  return getComputedStyle(root).getPropertyValue(name).trim();
}

function config() {
  const text = colour("--text"), quiet = colour("--quiet"), line = colour("--line");
  return {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: { labelColor: quiet, titleColor: text, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: 500, labelLimit: 110 },
    legend: { labelColor: quiet, titleColor: text, orient: "top", titleFontWeight: 500, gradientLength: 160, titleLimit: 320 },
    range: { category: ["--c1", "--c2", "--c3", "--c4", "--c5"].map(colour) },
    mark: { color: colour("--c1") },
  };
}

async function draw(place) {
  const spec = specs[place.dataset.chart];
  const many = spec.data.values.length > 2000;  // so many marks are faster on a canvas
  if (place.view) place.view.finalize();
  place.view = await vegaEmbed(place, spec, { actions: false, renderer: many ? "canvas" : "svg", config: config() });
}

// A chart in a closed part of the page has no width: it is drawn when that part is opened.
async function drawAll(places) {
  for (const place of places) if (place.offsetWidth) await draw(place);
}

const charts = document.querySelectorAll("[data-chart]");
for (const part of document.querySelectorAll("details")) {
  part.addEventListener("toggle", () => drawAll([...part.querySelectorAll("[data-chart]")].filter((place) => !place.view)));
}

function setTheme(theme) {
  root.dataset.theme = theme;
  document.getElementById("theme").textContent = theme === "dark" ? "Light" : "Dark";
  drawAll(charts);
}
setTheme(system.matches ? "dark" : "light");
system.addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
document.getElementById("theme").addEventListener("click", () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"));

for (const input of document.querySelectorAll(".slider input")) {
  const figure = input.closest("figure");
  const times = JSON.parse(input.dataset.times);
  const frames = figure.querySelectorAll(".strip .frame");
  const show = () => {
    figure.querySelector(".large").style.setProperty("--frame", input.value);
    figure.querySelector("output").textContent = times[input.value];
    frames.forEach((frame, number) => frame.setAttribute("aria-current", String(number === Number(input.value))));
  };
  input.addEventListener("input", show);
  frames.forEach((frame, number) => frame.addEventListener("click", () => { input.value = number; show(); }));
  show();
}

for (const button of document.querySelectorAll(".copied > button")) {
  button.hidden = !navigator.clipboard;  // pages that are not served securely have none
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
  });
}
