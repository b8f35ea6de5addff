"use strict";
// The board is rendered and escaped by the server; once there is a report, the page becomes it.
const board = document.getElementById("board");
const ended = document.getElementById("ended");
async function refresh() {
  try {
    const answer = await fetch("/board", {cache: "no-store"});
    const report = answer.headers.get("Demo-Report");
    if (report) return location.replace(report);
    if (!answer.ok) throw new Error(answer.statusText);
    board.innerHTML = await answer.text();
    ended.textContent = "";
  } catch {
    ended.textContent = "The demo does not answer any more: it has ended. Its terminal names the report.";
  }
  setTimeout(refresh, 1000);
}
setTimeout(refresh, 1000);
