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
    if (answer.redirected) {
      location.reload();
      return true;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    away.hidden = true;
    if (isBusy(main)) return false;
    take(main, fresh);
    if (fresh.dataset.follows) main.dataset.follows = fresh.dataset.follows;
    else delete main.dataset.follows;
    return true;
  } catch {
    away.hidden = false;
    return false;
  }
}

// One stream tells of changes. It is closed while nobody looks, and a page that is looked at again fetches itself.
function follow(main) {
  const away = document.getElementById("away");
  let stream = null;
  let waits = false;

  async function update() {
    waits = isBusy(main) || !(await refresh(main));
    if (!main.dataset.follows) close();
  }
  function close() {
    stream?.close();
    stream = null;
  }
  function open() {
    if (stream || document.hidden || !main.dataset.follows) return;
    let known = null;
    stream = new EventSource(`/dashboard/changes?of=${encodeURIComponent(main.dataset.follows)}`);
    stream.addEventListener("revision", (event) => {
      away.hidden = true;
      if (known !== null && known !== event.data) update();
      known = event.data;
    });
    stream.addEventListener("changed", (event) => { known = event.data; update(); });
    stream.onerror = () => {
      if (stream?.readyState !== EventSource.CLOSED) { away.hidden = false; return; }
      close();  // refused: a fetch of the page leads to signing in, where the session has ended
      update();
      setTimeout(open, 5000);
    };
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return close();
    update();
    open();
  });
  setInterval(() => { if (waits && !document.hidden) update(); }, 1000);
  addEventListener("pagehide", close);
  open();
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
follow(document.querySelector("main"));
