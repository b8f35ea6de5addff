// Draws the charts, asks before an act, and keeps a page up to date: it fetches itself and takes over what is new.
"use strict";

const LAYOUT = { paper_bgcolor: "transparent", plot_bgcolor: "transparent", hovermode: "closest" };
const CONFIG = { displayModeBar: false, responsive: true };

function draw(root) {
  for (const place of root.querySelectorAll("[data-chart]")) {
    if (!window.Plotly || place.dataset.drawn === place.dataset.chart) continue;
    const chart = JSON.parse(place.dataset.chart);
    Plotly.react(place, chart.data, { ...chart.layout, ...LAYOUT }, CONFIG);
    place.dataset.drawn = place.dataset.chart;
  }
}

function isBusy(main) {
  const writes = main.contains(document.activeElement) && document.activeElement.matches("input, select");
  const marks = document.getSelection().type === "Range";
  return document.hidden || writes || marks || main.querySelector("[data-touched]") !== null;
}

function take(main, fresh) {
  for (const open of main.querySelectorAll("details[open][id]")) {
    fresh.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
  }
  for (const drawn of main.querySelectorAll("[data-drawn]")) {
    const place = fresh.querySelector(`#${CSS.escape(drawn.id)}`);
    if (!place) continue;
    drawn.dataset.chart = place.dataset.chart;
    place.replaceWith(drawn);
  }
  main.replaceChildren(...fresh.childNodes);
  draw(main);
}

async function refresh(main) {
  const away = document.getElementById("away");
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected) return location.reload();
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    away.hidden = true;
    if (isBusy(main)) return;
    take(main, fresh);
    if (fresh.dataset.live) main.dataset.live = fresh.dataset.live;
    else delete main.dataset.live;
  } catch {
    away.hidden = false;
  }
}

async function keepFresh(main) {
  while (main.dataset.live) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * main.dataset.live));
    if (!isBusy(main)) await refresh(main);
  }
}

document.addEventListener("input", (event) => { event.target.dataset.touched = "yes"; });
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  const question = button?.dataset.ask;
  if (question && !confirm(question)) return event.preventDefault();
  // Once is enough; after the form was sent, for a disabled button would not be part of it.
  if (button && event.target.method === "post") setTimeout(() => { button.disabled = true; });
});
draw(document);
keepFresh(document.querySelector("main"));
