"use strict";
const hidden = (one) => one.offsetParent === null;
const frames = () => [...document.querySelectorAll(".frame")].filter((one) => !hidden(one));
const zoom = document.querySelector("dialog");

function fill(frame) {
  const picture = frame.querySelector("img");
  const image = zoom.querySelector("img");
  image.hidden = !picture;
  if (picture) { image.src = picture.src; image.alt = picture.alt; }
  zoom.querySelector("div").replaceChildren(...[...frame.children].filter((one) => !one.matches(".shot-picture")).map((one) => one.cloneNode(true)));
}

function go(frame) {
  if (!frame) return;
  frame.focus({ preventScroll: true });
  frame.scrollIntoView({ block: "nearest", behavior: "instant" });
  if (zoom.open) fill(frame);
}

function beside(step) {
  const all = frames();
  const at = all.indexOf(document.activeElement.closest(".frame") || zoom.frame);
  return at < 0 ? all[0] : all[at + step];
}

function above(step) {
  const all = frames();
  const from = (document.activeElement.closest(".frame") || zoom.frame)?.getBoundingClientRect();
  if (!from) return all[0];
  const places = all.map((one) => [one, one.getBoundingClientRect()]);
  const rows = places.filter(([, place]) => (step > 0 ? place.top > from.top + 4 : place.top < from.top - 4));
  const next = rows.reduce((best, [, place]) => (step > 0 ? Math.min(best, place.top) : Math.max(best, place.top)), step > 0 ? Infinity : -Infinity);
  const row = rows.filter(([, place]) => Math.abs(place.top - next) < 4);
  return row.sort((a, b) => Math.abs(a[1].left - from.left) - Math.abs(b[1].left - from.left))[0]?.[0];
}

function follow(name) {
  const target = document.querySelector(`a[data-key="${name}"]`);
  if (target) location.href = target.href;
  return target;
}

function move(frame) {
  if (!frame) return;
  zoom.frame = frame;
  go(frame);
}

function open(frame) {
  if (!frame) return;
  zoom.frame = frame;
  fill(frame);
  if (!zoom.open) zoom.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
  const has = frames().length > 0;
  const act = {
    ArrowRight: () => (has ? move(beside(1)) : follow("n")), ArrowLeft: () => (has ? move(beside(-1)) : follow("p")),
    ArrowDown: () => move(above(1)), ArrowUp: () => move(above(-1)),
    Enter: () => (zoom.open ? zoom.close() : open(document.activeElement.closest(".frame"))),
    n: () => follow("n"), p: () => follow("p"), o: () => follow("o"),
  }[event.key];
  if (!act || (event.key === "Enter" && !zoom.open && !document.activeElement.closest(".frame"))) return;
  if (event.key.startsWith("Arrow") && !has && !event.key.match(/Left|Right/)) return;
  event.preventDefault();
  act();
});

document.addEventListener("click", (event) => {
  if (event.target.closest("a, label, summary")) return;
  if (zoom.open) { zoom.close(); return; }
  open(event.target.closest(".frame"));
});
zoom.addEventListener("close", () => { if (zoom.frame) go(zoom.frame); });
