/* Curves that can be questioned, and tables that can be copied. The page is complete without this script: it then shows the static figures. */
(() => {
  "use strict";
  const page = { palette: document.querySelector("[data-palette]")?.dataset.palette || "safe" };
  const plots = [];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)");  // a finger is to scroll the page, not to drag in a chart
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  // ---- Controls: plain check boxes, radio buttons and lists, so that the keyboard and screen readers know them ----

  let serial = 0;
  function group(title, ...children) {
    return element("fieldset", {}, element("legend", { textContent: title }), ...children);
  }
  function tick(text, checked, change, swatch) {
    const box = element("input", { type: "checkbox", checked });
    box.addEventListener("change", () => change(box.checked));
    return element("label", {}, box, ...(swatch ? [swatch] : []), " " + text);
  }
  function choice(options, chosen, change) {
    const name = "choice-" + serial++;
    return Object.entries(options).map(([value, text]) => {
      const box = element("input", { type: "radio", name, value, checked: value === chosen });
      box.addEventListener("change", () => change(value));
      return element("label", {}, box, " " + text);
    });
  }

  function tint(net) {
    const colour = net.colours[page.palette];
    return colour === "#000000" ? css("--ink") : colour;
  }

  function controls(plot) {
    const { data, state } = plot;
    const redraw = (set) => (value) => { set(value); draw(plot); };
    const nets = data.nets.map((net) => {
      const swatch = element("span", { className: "swatch" });
      const look = (colour) => (net.dashed ? `repeating-linear-gradient(90deg, ${colour} 0 5px, transparent 5px 8px)` : colour);
      plot.swatches.push(() => { swatch.style.background = look(tint(net)); });
      const label = tick(net.label + (net.there ? "" : " (not run)"), net.on, redraw((on) => { state.nets[net.id] = on; }), swatch);
      label.dataset.net = net.id;
      return label;
    });
    const all = (on) => {
      data.nets.forEach((net) => { state.nets[net.id] = on; });
      nets.forEach((label) => { label.querySelector("input").checked = on; });
      draw(plot);
    };
    const every = data.nets.length > 3 ? [true, false].map((on) => {
      const button = element("button", { type: "button", textContent: on ? "all" : "none" });
      button.addEventListener("click", () => all(on));
      return button;
    }) : [];
    const made = [group("Nets", ...nets, ...every)];
    if (data.series.length > 1) {
      made.push(group("Error", ...data.series.map((s) => tick(s.label, true, redraw((on) => { state.series[s.id] = on; })))));
    }
    if (data.seeds.length) {
      const each = data.seeds.map((seed) => tick("seed " + seed, true, redraw((on) => { state.seeds[seed] = on; })));
      each.forEach((label) => { label.hidden = true; });
      const show = redraw((value) => { state.each = value === "each"; each.forEach((label) => { label.hidden = !state.each; }); });
      made.push(group("Seeds", ...choice({ mean: "mean ± std", each: "each seed" }, "mean", show), ...each));
    }
    const axis = redraw((value) => { state.axis = value; });
    made.push(group(data.iterations ? "Iteration axis" : "Layer axis", ...choice({ linear: "linear", log: "log" }, "linear", axis)));
    const range = redraw((value) => { state.range = value; });
    const ranges = { figure: "as the figure", all: "everything", end: "last tenth" };
    made.push(group("Show", ...choice(ranges, "figure", range)));
    if (data.panels.some((panel) => panel.marks.length)) {
      const shown = [...new Set(data.panels.flatMap((panel) => panel.marks.map((mark) => shape(data, mark))))];
      const key = element("span", { className: "key", textContent: shown.join(", ") });
      const others = data.panels.some((panel) => panel.marks.some((mark) => mark.who));
      const published = others ? [tick("published weights", true, redraw((on) => { state.published = on; }))] : [];
      made.push(group("Paper", tick("values read off its figure", true, redraw((on) => { state.marks = on; })), ...published, key));
    }
    return element("div", { className: "controls" }, ...made);
  }

  // ---- Traces ----

  const words = (data, id) => (data.series.length > 1 ? ", " + data.series.find((s) => s.id === id).label : "");
  const visible = (plot, item) => plot.state.nets[item.net] && plot.state.series[item.series] !== false;

  function shown(plot, line) {
    if (!visible(plot, line)) return false;
    if (plot.state.each) return line.seed === null ? line.n === 1 : plot.state.seeds[line.seed] !== false;
    return line.seed === null || line.n === 1;
  }

  // What a point says in the line under the chart.
  function lineWords(data, line, i) {
    const extras = line.lr ? `, learning rate ${line.lr[i]}, loss ${line.train_loss[i].toFixed(3)}` : "";
    return line.y[i].toFixed(2) + (line.sd ? ` ± ${line.sd[i].toFixed(2)}` : "") + (data.iterations ? " %" : "") + extras;
  }

  const SHAPES = { test_error: ["○", "circle-open"], train_error: ["□", "square-open"], std: ["○", "circle-open"],
    above: ["△", "triangle-up-open"], below: ["▽", "triangle-down-open"] };
  const kind = (mark) => mark.bound || mark.series;

  // ○ test error, ▽ below this
  const FILLED = { diamond: "◆", cross: "✚", x: "✖", star: "★" };

  function shape(data, mark) {
    if (mark.who) return `${FILLED[mark.symbol]} ${mark.who}'s weights`;
    const label = mark.bound ? mark.bound + " this" : data.series.find((s) => s.id === mark.series).label;
    return `${SHAPES[kind(mark)][0]} ${label}`;
  }

  function lineTraces(plot, line, axes) {
    const net = plot.data.nets.find((n) => n.id === line.net);
    const which = line.seed === null ? (line.n > 1 ? `, mean of ${line.n}` : "") : line.n > 1 ? `, seed ${line.seed}` : "";
    const name = net.label + words(plot.data, line.series) + which;
    const trace = { type: "scatter", mode: "lines", name, x: line.x, y: line.y, hoverinfo: "none", ...axes,
      meta: (i) => lineWords(plot.data, line, i), line: { color: tint(net), width: line.width, dash: line.dash } };
    return line.sd ? [band(line, net, axes), trace] : [trace];
  }

  function band(line, net, axes) {
    const up = line.y.map((y, i) => y + line.sd[i]);
    const down = line.y.map((y, i) => y - line.sd[i]).reverse();
    return { type: "scatter", mode: "lines", x: [...line.x, ...[...line.x].reverse()], y: [...up, ...down], fill: "toself",
      fillcolor: tint(net), opacity: 0.2, line: { width: 0 }, hoverinfo: "skip", ...axes };
  }

  function markTrace(plot, mark, axes) {
    const net = plot.data.nets.find((n) => n.id === mark.net);
    const symbol = mark.symbol || SHAPES[kind(mark)][1];
    const size = mark.series === "train_error" && mark.who ? 6 : 9;
    return { type: "scatter", mode: "markers", name: `${mark.who || "paper"}: ${net.label}${words(plot.data, mark.series)}`, x: [mark.x], y: [mark.y], ...axes,
      cliponaxis: false, hoverinfo: "none", meta: () => mark.text + (mark.who ? "" : " (read off the figure)"),
      marker: { symbol, size, color: tint(net), line: { width: 2, color: tint(net) } },
      error_y: { type: "constant", value: mark.pm, visible: mark.pm > 0, thickness: 1, width: 3, color: tint(net) } };
  }

  // ---- Layout: panels side by side where there is room, else one above the other ----

  function xRange(plot, panel, log) {
    const xs = panel.lines.filter((line) => shown(plot, line)).flatMap((line) => line.x);
    const last = Math.max(panel.x[1], ...xs);
    let [low, high] = panel.x;
    if (plot.state.range === "all") [low, high] = [0, last];
    if (plot.state.range === "end") [low, high] = [0.9 * last, last];
    if (!log) return [low, high];
    const first = Math.min(...xs.filter((x) => x > 0), last);
    return [Math.log10(Math.max(low, first)), Math.log10(high)];
  }

  function yRange(plot, panel) {
    if (plot.state.range === "figure") return panel.y;
    const [low] = plot.state.range === "end" ? [0.9 * Math.max(panel.x[1], ...panel.lines.flatMap((l) => l.x))] : [0];
    const ys = panel.lines.filter((line) => shown(plot, line)).flatMap((line) => line.y.filter((y, i) => y !== null && line.x[i] >= low));
    if (!ys.length) return panel.y;
    const [bottom, top] = [Math.min(...ys), Math.max(...ys)];
    const room = 0.06 * (top - bottom || 1);
    return [bottom - room, top + room];
  }

  function layout(plot) {
    const { data, state, host } = plot;
    const width = host.clientWidth || 600;
    const columns = Math.max(1, Math.min(data.panels.length, Math.floor(width / 330)));
    const rows = Math.ceil(data.panels.length / columns);
    const height = rows * (width < 500 ? 290 : 380);
    const made = { width, height, margin: { l: 48, r: 14, t: touch.matches ? 34 : 58, b: 44 }, showlegend: false, hovermode: "x", dragmode: touch.matches ? false : "zoom",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: css("--ink"), size: 13, family: "system-ui, sans-serif" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--ink") }, annotations: [] };
    data.panels.forEach((panel, i) => {
      const [column, row] = [i % columns, Math.floor(i / columns)];
      const gapX = columns > 1 ? 62 / width : 0;
      const gapY = rows > 1 ? 84 / height : 0;
      const w = (1 - gapX * (columns - 1)) / columns;
      const h = (1 - gapY * (rows - 1)) / rows;
      const left = column * (w + gapX);
      const top = 1 - row * (h + gapY);
      const id = i ? String(i + 1) : "";
      const look = { gridcolor: css("--line"), linecolor: css("--soft"), zerolinecolor: css("--line"), ticks: "inside", mirror: true, showline: true };
      const log = state.axis === "log";
      made["xaxis" + id] = { ...look, domain: [left, left + w], anchor: "y" + id, type: state.axis, range: xRange(plot, panel, log),
        title: { text: data.x, standoff: 6 }, showgrid: false, ...(log ? { dtick: 1 } : {}), showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "solid", spikecolor: css("--soft") };
      made["yaxis" + id] = { ...look, domain: [top - h, top], anchor: "x" + id, range: yRange(plot, panel), title: { text: column ? "" : data.y, standoff: 4 } };
      made.annotations.push({ text: `<b>${panel.title}</b>`, x: left + w / 2, y: top, xref: "paper", yref: "paper", xanchor: "center", yanchor: "bottom", showarrow: false });
    });
    return made;
  }

  // The values at the pointer stand under the chart, where they cover no curve.
  const READOUT = "Point at a curve, or tap it: its values stand here.";

  function readout(data, points) {
    const place = element("b", { textContent: `${data.iterations ? "iteration" : data.x} ${points[0].x.toLocaleString("en")}` });
    return [place, ...points.map((point) => {
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = point.data.line?.color || point.data.marker.color;
      return element("span", {}, swatch, ` ${point.data.name}: ${point.data.meta(point.pointIndex)}`);
    })];
  }

  function draw(plot) {
    plot.swatches.forEach((paint) => paint());
    const traces = plot.data.panels.flatMap((panel, i) => {
      const id = i ? String(i + 1) : "";
      const axes = { xaxis: "x" + id, yaxis: "y" + id };
      const lines = panel.lines.filter((line) => shown(plot, line)).flatMap((line) => lineTraces(plot, line, axes));
      const on = (mark) => (mark.who ? plot.state.published : plot.state.marks) && visible(plot, mark);
      const marks = panel.marks.filter(on).map((mark) => markTrace(plot, mark, axes));
      return [...lines, ...marks];
    });
    const options = { displaylogo: false, showSendToCloud: false, plotlyServerURL: "", responsive: false, scrollZoom: false, displayModeBar: !touch.matches,
      modeBarButtonsToRemove: ["lasso2d", "select2d"], toImageButtonOptions: { format: "svg", filename: plot.name } };
    Plotly.react(plot.host, traces, layout(plot), options);
  }

  function start(figure) {
    const name = figure.dataset.plot;
    const data = JSON.parse(document.getElementById("plot-" + name).textContent);
    const state = { nets: {}, series: {}, seeds: {}, each: false, axis: "linear", range: "figure", marks: true, published: true };
    data.nets.forEach((net) => { state.nets[net.id] = net.on; });
    const alt = figure.querySelector("img").alt;
    const host = element("div", { className: "host", id: "live-" + name });
    host.setAttribute("role", "img");
    host.setAttribute("aria-label", alt);
    const said = element("p", { className: "readout", textContent: READOUT });
    const plot = { name, data, state, host, swatches: [] };
    const live = element("div", { className: "live" }, controls(plot), host, said);
    figure.append(live);
    figure.classList.add("has-live");
    plots.push(plot);
    draw(plot);
    host.addEventListener("touchstart", (event) => event.stopPropagation(), { capture: true, passive: true });  // plotly would stop the page from scrolling
    host.on("plotly_hover", (event) => said.replaceChildren(...readout(data, event.points)));
    let seen = host.clientWidth;
    new ResizeObserver(() => { if (host.clientWidth !== seen) { seen = host.clientWidth; draw(plot); } }).observe(live);
  }

  // ---- Copying ----

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // no permission, or an older browser
      const area = element("textarea", { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }

  function copying(place) {
    const texts = JSON.parse(document.getElementById("paste-" + place.dataset.paste).textContent);
    const said = element("span", { className: "said" });
    said.setAttribute("role", "status");
    const buttons = Object.entries(texts).map(([format, text]) => {
      const button = element("button", { type: "button", textContent: "Copy" + (format === "text" ? "" : " as " + format) });
      button.addEventListener("click", async () => {
        await copy(text);
        said.textContent = "copied";
        setTimeout(() => { said.textContent = ""; }, 2000);
      });
      return button;
    });
    place.append(...buttons, said);
  }

  function palette(place) {
    const change = (value) => { page.palette = value; plots.forEach(draw); };
    place.append(group("Colours of the curves", ...choice({ safe: "colour-blind safe", paper: "the paper’s" }, page.palette, change)));
  }

  // A link, and paper, open what is folded.
  function unfold() {
    const place = document.getElementById(location.hash.slice(1));
    (place?.closest("details") || place?.querySelector(":scope > details"))?.setAttribute("open", "");
  }
  addEventListener("hashchange", unfold);
  addEventListener("beforeprint", () => document.querySelectorAll(".folded > details, #claims > details").forEach((part) => { part.open = true; }));
  unfold();

  document.querySelectorAll("[data-paste]").forEach(copying);
  if (typeof Plotly !== "undefined") {
    document.querySelectorAll("[data-plot]").forEach(start);
    document.querySelectorAll("[data-palette]").forEach(palette);
    [dark, touch].forEach((query) => query.addEventListener("change", () => plots.forEach(draw)));
  }
  document.documentElement.dataset.ready = "yes";
})();
