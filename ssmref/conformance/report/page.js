"use strict";
(() => {
  const form = document.getElementById("filters");
  const cases = [...document.querySelectorAll("details.case")];
  const texts = new Map(cases.map((c) => [c, c.textContent.toLowerCase()]));

  function filter() {
    const op = form.elements.op.value;
    const status = form.elements.status.value;
    const text = form.elements.text.value.trim().toLowerCase();
    for (const one of cases) {
      one.hidden =
        (op && one.dataset.op !== op) ||
        (status && one.dataset.status !== status) ||
        !texts.get(one).includes(text);
    }
    const shown = cases.filter((one) => !one.hidden).length;
    document.getElementById("shown").value = `${shown} of ${cases.length} cases`;
    document.getElementById("nothing").hidden = shown > 0;
  }

  // A link to a case opens it, also where a filter had hidden it.
  function open() {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = document.getElementById(id);
    if (!cases.includes(target)) return;
    if (target.hidden) {
      form.reset();
      filter();
    }
    target.open = true;
    target.scrollIntoView();
  }

  // Without the clipboard the command is selected, so that a person can copy it.
  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }

  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  }
  addEventListener("hashchange", open);
  filter();
  open();
})();
