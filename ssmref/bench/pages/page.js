"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const form = document.getElementById("filters");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const NAMES = ["op", "implementation", "dtype", "threads"];
  // The colours of the pictures (Okabe and Ito), and lighter ones for the dark.
  const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9",
    "#e69f00", "#555555"];
  const DARK = ["#5ab4f0", "#ff9147", "#35cf9f", "#e9a6cb", "#d6b53c", "#8fd3ff",
    "#ffc04d", "#b9c0c7"];
  const SHAPES = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
    "square": "M-4 -4H4V4H-4Z",
    "triangle-up": "M0 -5L5 4H-5Z",
    "diamond": "M0 -5L5 0L0 5L-5 0Z",
    "triangle-down": "M0 5L5 -4H-5Z",
    "pentagon": "M0 -5L5 -1L3 4H-3L-5 -1Z",
    "star": "M0 -5L1.5 -1.5H5L2 1L3 5L0 2.5L-3 5L-2 1L-5 -1.5H-1.5Z",
    "hexagon": "M-2.5 -4.5H2.5L5 0L2.5 4.5H-2.5L-5 0Z",
  };
  const off = new Map(charts.map((chart) => [chart.id, new Set()]));

  const variable = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (trace) => (dark.matches ? DARK : LIGHT)[trace.colour];
  // Plotly takes some tags for formatting: nobody's name is to be one.
  const plain = (text) =>
    text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  function short(number) {
    return String(Number(number.toPrecision(3)));
  }

  function tokens(number) {
    if (number >= 2 ** 20) return `${short(number / 2 ** 20)}M`;
    return number >= 1024 ? `${short(number / 1024)}K` : short(number);
  }

  function bytes(number) {
    const power = Math.max(0, Math.min(4, Math.floor(Math.log2(number) / 10)));
    return `${short(number / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
  }

  const seconds = (number) =>
    number >= 1 ? `${short(number)} s`
      : number >= 1e-3 ? `${short(number * 1e3)} ms` : `${short(number * 1e6)} µs`;
  const tens = (number) =>
    number >= 1e9 ? `${short(number / 1e9)}G` : number >= 1e6 ? `${short(number / 1e6)}M`
      : number >= 1e3 ? `${short(number / 1e3)}K` : short(number);
  const UNITS = { "s": seconds, "B": bytes, "tokens/s": tens, "": short };

  // Where to label an axis: powers of two for bytes, else 1, 2, 5 or powers of ten.
  function steps(unit, low, high) {
    if (unit === "B") {
      const step = Math.max(1, Math.ceil(Math.log2(high / low) / 8));
      return Array.from({ length: 64 }, (_, i) => 2 ** (i * step));
    }
    const decades = Math.log10(high / low);
    const within = decades < 0.7 ? [1, 1.5, 2, 3, 4, 5, 7] : decades < 2 ? [1, 2, 5] : [1];
    return Array.from({ length: 30 }, (_, i) => within.map((n) => n * 10 ** (i - 12)))
      .flat();
  }

  function fits(tags) {
    return NAMES.every((name) => {
      const wanted = form.elements[name].value;
      return !wanted || tags[name] === undefined || tags[name] === wanted;
    });
  }

  function base(trace) {
    return trace.name.replace(/, (by the model|OOM \(predicted\))$/, "");
  }

  function isShown(chart, trace) {
    if (trace.provenance === "limit" && !form.elements.limits.checked) return false;
    return fits(trace.tags) && !off.get(chart.id).has(base(trace));
  }

  function plotted(chart, trace) {
    const axis = trace.panel ? String(trace.panel + 1) : "";
    const own = colour(trace);
    const marker = trace.provenance !== "limit";
    const made = {
      type: "scatter",
      mode: trace.provenance === "oom" ? "markers" : marker ? "lines+markers" : "lines",
      name: plain(trace.name),
      x: trace.x,
      y: trace.y,
      yaxis: `y${axis}`,
      visible: isShown(chart, trace),
      text: trace.text.map((text) => plain(text).replaceAll("\n", "<br>")),
      hovertemplate: `<b>${plain(trace.name)}</b><br>%{text}<extra></extra>`,
      line: { color: own, dash: trace.dash, width: marker ? 2 : 1.25 },
      marker: {
        color: trace.hollow ? variable("--page") : own,
        symbol: trace.symbol,
        size: trace.provenance === "oom" ? 10 : 7,
        line: { color: own, width: trace.hollow ? 1.5 : 0 },
      },
      showlegend: false,
    };
    if (trace.low.length) {
      made.error_y = {
        type: "data",
        symmetric: false,
        array: trace.high.map((high, i) => high - trace.y[i]),
        arrayminus: trace.low.map((low, i) => trace.y[i] - low),
        color: own,
        thickness: 1,
        width: 3,
      };
    }
    return made;
  }

  function horizontal(chart, width) {
    const words = chart.x.unit === "length" ? tokens : short;
    const step = Math.ceil((chart.x.ticks.length * 48) / Math.max(width - 90, 100));
    const ticks = chart.x.ticks.filter((_, i) => i % step === 0);
    return {
      type: "log",
      title: { text: chart.x.title },
      tickmode: "array",
      tickvals: ticks,
      ticktext: ticks.map(words),
    };
  }

  function vertical(chart, number) {
    const panel = chart.panels[number];
    const count = chart.panels.length;
    const gap = count > 1 ? 0.06 : 0;
    const size = (1 - gap * (count - 1)) / count;
    const top = 1 - number * (size + gap);
    const made = {
      type: "log",
      title: { text: panel.title },
      domain: [Math.max(top - size, 0), top],
    };
    const values = chart.traces.filter((t) => t.panel === number && isShown(chart, t))
      .flatMap((t) => t.y);
    made.tickvals = steps(panel.unit, Math.min(...values), Math.max(...values));
    made.ticktext = made.tickvals.map(UNITS[panel.unit]);
    return made;
  }

  function lines(chart) {
    return chart.panels.flatMap((panel, number) => panel.lines.map((line) => ({
      axis: number ? `y${number + 1}` : "y",
      ...line,
    })));
  }

  function layout(chart, width) {
    const grid = { gridcolor: variable("--line"), zeroline: false, automargin: true };
    const made = {
      width,
      height: Math.max(380, 190 * chart.panels.length + 80),
      margin: { l: 60, r: 12, t: width < 640 ? 12 : 34, b: 48 },
      paper_bgcolor: variable("--page"),
      plot_bgcolor: variable("--page"),
      font: { color: variable("--text"), family: "system-ui, sans-serif", size: 12 },
      hovermode: "closest",
      dragmode: width < 640 ? false : "zoom",
      hoverlabel: { align: "left" },
      xaxis: { ...grid, ...horizontal(chart, width) },
      shapes: lines(chart).map((line) => ({
        type: "line", xref: "paper", x0: 0, x1: 1, yref: line.axis, y0: line.y, y1: line.y,
        line: { color: variable("--soft"), dash: "dash", width: 1 },
      })),
      annotations: lines(chart).map((line) => ({
        text: plain(line.text), showarrow: false, xref: "paper", x: 0, xanchor: "left",
        yref: line.axis, y: Math.log10(line.y), yanchor: "bottom",
        font: { size: 11, color: variable("--soft") },
      })),
    };
    chart.panels.forEach((_, i) => {
      made[i ? `yaxis${i + 1}` : "yaxis"] = { ...grid, ...vertical(chart, i) };
    });
    if (chart.panels.length > 1) made.xaxis.anchor = `y${chart.panels.length}`;
    return made;
  }

  function swatch(trace) {
    const filled = trace.hollow ? "none" : colour(trace);
    const dash = trace.dash === "solid" ? "" : 'stroke-dasharray="3 2"';
    return `<svg width="26" height="12" viewBox="-13 -6 26 12" aria-hidden="true">` +
      `<path d="M-13 0H13" stroke="${colour(trace)}" stroke-width="2" ${dash}/>` +
      `<path d="${SHAPES[trace.symbol]}" fill="${filled}" stroke="${colour(trace)}"/></svg>`;
  }

  function entry(chart, trace) {
    const hidden = off.get(chart.id);
    const button = document.createElement("button");
    button.type = "button";
    button.innerHTML = swatch(trace);
    button.append(trace.name);
    button.setAttribute("aria-pressed", String(!hidden.has(base(trace))));
    button.addEventListener("click", () => {
      if (!hidden.delete(base(trace))) hidden.add(base(trace));
      draw(chart);
      const again = [...legend(chart).querySelectorAll("button")];
      again.find((one) => one.textContent === trace.name)?.focus();
    });
    const item = document.createElement("li");
    item.append(button);
    return item;
  }

  const figure = (chart) => document.getElementById(`chart-${chart.id}`);
  const legend = (chart) => figure(chart).querySelector(".legend");

  function draw(chart) {
    const place = figure(chart);
    const plot = place.querySelector(".plot");
    const named = chart.traces.filter((t) => t.legend && fits(t.tags));
    const some = chart.traces.some((t) => t.provenance !== "limit" && fits(t.tags));
    place.classList.add("drawn");
    plot.hidden = !some;
    place.querySelector(".nothing").hidden = some;
    legend(chart).hidden = !some;
    legend(chart).replaceChildren(...named.map((trace) => entry(chart, trace)));
    if (!some) return;
    Plotly.react(
      plot,
      chart.traces.map((trace) => plotted(chart, trace)),
      layout(chart, place.clientWidth),
      { displaylogo: false, displayModeBar: place.clientWidth < 640 ? false : "hover", modeBarButtonsToRemove:
        ["select2d", "lasso2d", "autoScale2d"] },
    );
  }

  function filter() {
    const rows = [...document.querySelectorAll("tbody tr")];
    const tagged = rows.filter((row) => Object.keys(row.dataset).length);
    for (const row of tagged) row.hidden = !fits(row.dataset);
    const shown = tagged.filter((row) => !row.hidden).length;
    document.getElementById("shown").value = `${shown} of ${tagged.length} lines`;
    charts.forEach(draw);
  }

  let waiting;
  function later() {
    clearTimeout(waiting);
    waiting = setTimeout(() => charts.forEach(draw), 100);
  }

  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  dark.addEventListener("change", later);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) later();
    width = innerWidth;
  });
  filter();
})();
