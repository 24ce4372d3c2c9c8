"use strict";

// Statements by verdict.
const buttons = [...document.querySelectorAll(".filters button[data-verdict]")];
for (const button of buttons) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", shown);
    for (const claim of document.querySelectorAll(`.claim[data-verdict="${button.dataset.verdict}"]`)) {
      claim.hidden = !shown;
    }
  });
}
const claims = [...document.querySelectorAll(".claim")];
const openAll = document.getElementById("open-all");
openAll.addEventListener("click", () => {
  const open = claims.some((claim) => !claim.open);
  for (const claim of claims) claim.open = open;
  openAll.textContent = open ? "Close all" : "Open all";
});

// A link to something inside of what is closed opens it.
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let place = target; place; place = place.parentElement) {
    if (place.tagName === "DETAILS") place.open = true;
  }
}
window.addEventListener("hashchange", reveal);
reveal();

// Pictures whose points can be explored by pointer, touch and keyboard.
const REACH = 40;

function number(value) {
  return Number(value.toPrecision(5)).toString();
}

function describe(panel, series, point) {
  const lines = [];
  if (panel.title) lines.push(panel.title);
  const [, , x, y, value] = point;
  if (value !== undefined) {
    lines.push(`${series.label}: ${number(value)}`, `at ${number(x)}, ${number(y)}`);
  } else {
    if (series.label) lines.push(series.label);
    lines.push(`${panel.x || "x"}: ${number(x)}`, `${panel.y || "y"}: ${number(y)}`);
  }
  return lines;
}

function explore(picture) {
  const panels = JSON.parse(document.getElementById(picture.dataset.points).textContent);
  const lines = panels.flatMap((panel) => panel.series.map((series) => ({ panel, series })));
  const readout = picture.parentElement.querySelector(".readout");
  const mark = document.createElement("span");
  mark.className = "mark";
  const tip = document.createElement("span");
  tip.className = "tip";
  for (const part of [mark, tip]) {
    part.hidden = true;
    part.setAttribute("aria-hidden", "true");
    picture.append(part);
  }
  let line = 0;
  let index = -1;

  function hide() {
    mark.hidden = tip.hidden = true;
  }

  function show() {
    const { panel, series } = lines[line];
    const point = series.points[index];
    const [across, down] = point;
    mark.style.left = `${100 * across}%`;
    mark.style.top = `${100 * down}%`;
    tip.style.left = across < 0.6 ? `calc(${100 * across}% + 14px)` : "auto";
    tip.style.right = across < 0.6 ? "auto" : `calc(${100 * (1 - across)}% + 14px)`;
    tip.style.top = down < 0.75 ? `${100 * down}%` : "auto";
    tip.style.bottom = down < 0.75 ? "auto" : `${100 * (1 - down)}%`;
    const text = describe(panel, series, point);
    tip.textContent = text.join("\n");
    readout.textContent = text.join("; ");
    mark.hidden = tip.hidden = false;
  }

  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const at = [event.clientX - box.left, event.clientY - box.top];
    let nearest = REACH;
    lines.forEach(({ series }, which) => {
      series.points.forEach(([across, down], place) => {
        const distance = Math.hypot(across * box.width - at[0], down * box.height - at[1]);
        if (distance < nearest) [nearest, line, index] = [distance, which, place];
      });
    });
    if (nearest < REACH) show();
    else hide();
  });
  picture.addEventListener("pointerleave", hide);
  picture.addEventListener("blur", hide);
  picture.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    if (event.key === "Escape") hide();
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    if (index < 0) index = 0;
    else {
      line = (line + step[0] + lines.length) % lines.length;
      const count = lines[line].series.points.length;
      index = Math.min(index, count - 1);
      index = (index + step[1] + count) % count;
    }
    show();
  });
}

for (const picture of document.querySelectorAll(".picture[data-points]")) explore(picture);
