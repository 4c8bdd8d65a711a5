"use strict";
(() => {
  const form = document.getElementById("calculator");
  const { models, bytes } = JSON.parse(
    document.getElementById("sizes-data").textContent);
  const result = document.getElementById("sizes-result");
  const mistake = document.getElementById("sizes-mistake");
  const OWN = form.elements.model.options[0].value;
  const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

  // As in words.py: three digits at least, in the largest unit that leaves one.
  function words(value) {
    let power = 0;
    while (value >= 1023.5 && power < UNITS.length - 1) {
      value /= 1024;
      power += 1;
    }
    if (!power) return `${value} B`;
    const exponent = Number(value.toExponential(2).split("e")[1]);
    const places = Math.max(2 - exponent, 0);
    // Python rounds a half to the even neighbour, toFixed to the larger one.
    const scaled = value * 10 ** places;
    const half = scaled - Math.floor(scaled) === 0.5;
    const rounded = half ? 2 * Math.round(scaled / 2) : Math.round(scaled);
    return `${(rounded / 10 ** places).toFixed(places)} ${UNITS[power]}`;
  }

  // As in sizes.py: numbers that are kept of a request, always and for each token.
  function ofShape(s) {
    const heads = s.expand * s.heads;
    const channels = heads * s.headdim;
    const buffer = s.conv - 1;
    const mamba3 = (rank) =>
      heads * (s.state / 4 + s.headdim * s.state + rank * s.state + s.headdim);
    const each = {
      "attention": [0, 2 * s.kv_heads * s.headdim],
      "Mamba-1": [channels * (buffer + s.mamba1_state), 0],
      "Mamba-2": [buffer * (channels + 2 * s.groups * s.state) + channels * s.state, 0],
      "Mamba-3 SISO": [mamba3(1), 0],
      "Mamba-3 MIMO": [mamba3(s.rank), 0],
    };
    return Object.entries(each).map(([name, [fixed, token]]) => (
      { name, fixed: s.layers * fixed, per_token: s.layers * token }));
  }

  function wrong(own, s) {
    const fields = [...form.querySelectorAll("input")];
    const bad = fields.find((e) => (own || !e.closest(".own")) && !e.checkValidity());
    if (bad) return `${bad.parentElement.firstChild.data} needs a whole number from 1 on.`;
    if (!own) return "";
    if (s.heads % s.kv_heads) {
      return "The heads for keys and values have to divide the attention heads.";
    }
    if ((s.expand * s.heads) % s.groups) {
      return "The groups have to divide the heads of the SSM.";
    }
    return s.state % 4 ? "The state of Mamba-2 and 3 has to be a multiple of 4." : "";
  }

  function row(kept, size, s) {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = kept.name;
    const one = (kept.fixed + kept.per_token * s.context) * size;
    const values = [kept.fixed * size, kept.per_token * size, one, one * s.requests];
    line.append(head, ...values.map((value) => {
      const cell = document.createElement("td");
      cell.textContent = words(value);
      cell.title = `${value} bytes`;
      return cell;
    }));
    return line;
  }

  function show() {
    const chosen = form.elements.model.value;
    const own = chosen === OWN;
    const fields = [...form.querySelectorAll("input")];
    const s = Object.fromEntries(fields.map((e) => [e.name, Number(e.value)]));
    for (const label of form.querySelectorAll(".own")) label.hidden = !own;
    mistake.textContent = wrong(own, s);
    mistake.hidden = !mistake.textContent;
    const size = bytes[form.elements.dtype.value];
    const found = mistake.hidden ? (own ? ofShape(s) : models[chosen]) : [];
    result.replaceChildren(...found.map((kept) => row(kept, size, s)));
  }

  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
})();
