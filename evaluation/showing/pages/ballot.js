"use strict";
(() => {
  const ballot = document.body.dataset.ballot, place = "ballot-" + ballot;
  const pairs = [...document.querySelectorAll(".pair")], rater = document.getElementById("rater");
  const by = (id) => document.getElementById(id);
  const fields = pairs.flatMap((pair) => [...pair.querySelectorAll("fieldset")].map((field) => ({
    pair: pair.dataset.pair, dimension: field.dataset.dimension,
    radios: [...field.querySelectorAll("input")], comment: field.querySelector("textarea"),
  })));
  let at = 0, unsaved = false;

  const choiceOf = (field) => field.radios.find((radio) => radio.checked)?.value ?? null;
  const isComplete = (pair) => fields.filter((field) => field.pair === pair.dataset.pair).every(choiceOf);
  const answers = () => fields.filter(choiceOf).map((field) => ({
    pair: field.pair, dimension: field.dimension, choice: choiceOf(field), comment: field.comment.value.trim(),
  }));

  function keep() {
    const drafts = fields.map((field) => [choiceOf(field), field.comment.value]);
    try { localStorage.setItem(place, JSON.stringify({ rater: rater.value, at, drafts })); }
    catch { by("unkept").hidden = false; }
  }

  function recall() {
    let kept = null;
    try { kept = JSON.parse(localStorage.getItem(place)); } catch { by("unkept").hidden = false; }
    if (!kept || !Array.isArray(kept.drafts)) return;
    rater.value = kept.rater ?? "";
    at = Math.min(Math.max(0, kept.at | 0), pairs.length - 1);
    fields.forEach((field, number) => {
      const [choice, comment] = kept.drafts[number] ?? [null, ""];
      field.radios.forEach((radio) => { radio.checked = radio.value === choice; });
      field.comment.value = comment ?? "";
    });
  }

  function show(move) {
    pairs.forEach((pair, number) => { pair.hidden = number !== at; });
    const number = answers().length, open = pairs.filter((pair) => !isComplete(pair)).length;
    by("progress").value = number;
    by("count").textContent = number + " of " + fields.length + " answered" +
      (open ? ", " + open + (open === 1 ? " pair" : " pairs") + " to go" : ": done, save them");
    by("previous").disabled = at === 0;
    by("next").disabled = at === pairs.length - 1;
    by("save").classList.toggle("main", !open);
    by("next").classList.toggle("main", !!open);
    if (move) {
      pairs[at].querySelector("h2").focus({ preventScroll: true });
      pairs[at].scrollIntoView();
    }
  }

  function go(step) {
    const next = Math.min(Math.max(0, at + step), pairs.length - 1);
    if (next === at) return;
    at = next; keep(); show(true);
  }

  function save() {
    if (!rater.value.trim()) { rater.scrollIntoView({ block: "center" }); rater.focus(); return; }
    const found = { ballot, rater: rater.value.trim(), saved_at: new Date().toISOString(), answers: answers() };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(found, null, 1)], { type: "application/json" }));
    link.download = ["answers", ...found.rater.match(/[\p{L}\p{N}]+/gu) ?? []].join("-") + ".json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    unsaved = false;
  }

  document.addEventListener("input", () => { unsaved = true; keep(); show(false); });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("textarea, input[type=text]") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "n") go(1);
    if (event.key === "p") go(-1);
  });
  by("previous").addEventListener("click", () => go(-1));
  by("next").addEventListener("click", () => go(1));
  by("save").addEventListener("click", save);
  addEventListener("beforeunload", (event) => { if (unsaved && !by("unkept").hidden) event.preventDefault(); });
  recall(); show(false);
})();
