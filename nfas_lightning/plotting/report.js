"use strict";
// Draws report.html from the data in it. No build step, nothing fetched: Plotly.js and the data are in the page.
// All text reaches the page by textContent, or through safe() where Plotly takes it for markup.

const $ = (id) => document.getElementById(id);
const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const finite = (values) => values.filter((value) => value !== null && value !== undefined);
const mean = (values) => (finite(values).length ? finite(values).reduce((a, b) => a + b, 0) / finite(values).length : null);
const shown = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const quantile = (values, share) => {
  const sorted = finite(values).sort((a, b) => a - b);
  const place = share * (sorted.length - 1), low = Math.floor(place);
  return sorted.length ? sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]) : null;
};

let data, order = { column: "score", down: true }, roiOrder = { column: "value", down: true };
const chosen = {};  // feature, number, value, place, model (row), map, scaling, roi (row), view
const LEGEND = { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 };
const CONFIG = { responsive: true, displayModeBar: false };

async function unpacked(id) {
  const bytes = Uint8Array.from(atob($(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// --- the page's look --------------------------------------------------------------------------------------

function color(name) {
  const probe = document.body.appendChild(make("i", { style: `color: var(--${name})` }));
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function inked(value, colors) {  // "@ink" and the like become colors; black would vanish on a dark page
  if (typeof value === "string") return value[0] === "@" ? colors[value.slice(1)] : value === "#000000" ? colors.ink : value;
  if (Array.isArray(value)) return value.map((item) => inked(item, colors));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, inked(item, colors)]));
}

function draw(id, traces, layout = {}, label = "") {
  const colors = { ink: color("ink"), muted: color("muted"), line: color("line"), card: color("card") };
  const axis = { gridcolor: colors.line, zerolinecolor: colors.muted, linecolor: colors.muted, automargin: true };
  const whole = {
    margin: { l: 50, r: 16, t: 12, b: 44 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colors.ink }, hovermode: "closest",
    legend: LEGEND, dragmode: "pan",
    hoverlabel: { bgcolor: colors.card, bordercolor: colors.muted, font: { color: colors.ink }, align: "left" },
    ...inked(layout, colors),
  };
  if (!layout.scene) for (const name of ["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis\d/.test(key))]) {
    whole[name] = { ...axis, zeroline: !whole[name]?.tickvals, ...whole[name] };
  }
  const node = $(id);
  node.setAttribute("role", "img");
  if (label) node.setAttribute("aria-label", label);
  Plotly.react(node, inked(traces, colors), whole, CONFIG);
  node.firstElementChild.setAttribute("aria-hidden", "true");  // the picture has one name; its parts have none
  if (!node.dataset.live) {
    node.dataset.live = "yes";
    node.on("plotly_click", (event) => clicked(event.points[0]));
  }
}

function clicked(point) {
  const own = point.customdata;
  if (point.data.type === "mesh3d") selectRoi(data.surface.sides[point.data.name].owner[point.pointNumber]);
  else if (typeof own === "string") selectModel(data.models.findIndex((model) => model.model === own));
  else if (typeof own === "number") selectRoi(own);
}

// --- numbers ----------------------------------------------------------------------------------------------

const tables = (feature = chosen.feature, number = chosen.number) =>
  data.scores[`${feature} ${number}`] ?? data.scores[`${feature} alone`] ?? data.scores[`${feature} ${data.start.number}`];

function scoresOf(model, feature = chosen.feature, number = chosen.number, value = chosen.value) {
  return tables(feature, number)?.[value]?.[model] ?? [];
}

const sureOf = (feature = chosen.feature) => data.intervals[`${feature} ${chosen.number} ${chosen.value}`];

function standardized(values) {
  const center = mean(values), known = finite(values);
  const spread = Math.sqrt(known.reduce((sum, x) => sum + (x - center) ** 2, 0) / (known.length - 1));
  return values.map((x) => (x === null || !spread ? null : (x - center) / spread));
}

const valueName = () => (chosen.value === "r2" ? "r²" : "r");
const featureName = (id = chosen.feature) => data.features.find((feature) => feature.id === id)?.name ?? id;
const numberName = () => (data.numbers.length > 1 ? `, ${data.numbers.find((n) => n.id === chosen.number).name}` : "");
const style = (model) => data.groups[model.group];

// --- tables -----------------------------------------------------------------------------------------------

function say(node, text) {  // what is said twice a screen reader would read twice
  if (node.textContent !== text) node.textContent = text;
}

function refill(body, rows) {  // the button that was pressed keeps the focus, though its row is made anew
  const held = body.contains(document.activeElement) ? document.activeElement.dataset.row : null;
  body.replaceChildren(...rows);
  if (held) body.querySelector(`[data-row="${held}"]`)?.focus({ preventScroll: true });
}

const choice = (row, name, isChosen) => make("button", { type: "button", class: "plain", "data-row": row, "aria-pressed": String(isChosen) }, name);

function header(columns, state, redraw) {
  return make("tr", {}, ...columns.map(({ id, name, number }) => {
    const sort = state.column === id ? (state.down ? "descending" : "ascending") : "none";
    const turn = () => {
      Object.assign(state, { down: state.column === id ? !state.down : Boolean(number), column: id });
      redraw();
      redraw.head?.querySelector(`[data-id="${id}"]`)?.focus();
    };
    const button = make("button", { type: "button", class: "plain", "data-id": id, onclick: turn }, name);
    return make("th", { scope: "col", "aria-sort": sort, class: number ? "n" : null }, button);
  }));
}

function sorted(rows, state) {
  const side = state.down ? -1 : 1;
  return [...rows].sort((a, b) => {
    const x = a[state.column] ?? null, y = b[state.column] ?? null;
    if (x === null || y === null) return (x === null) - (y === null);  // what is not known comes last either way
    return side * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
  });
}

const MULTIPLES = { k: 1e3, M: 1e6, B: 1e9 };
function cellValue(text) {
  const found = /^[<]?\s*([+-]?\d*\.?\d+)(?: ([kMB]))?\b/.exec(text.trim());
  return found ? Number(found[1]) * (MULTIPLES[found[2]] ?? 1) : text.trim() === "–" ? null : text.trim();
}

function enliven(table) {  // a table that came with the page: sort by its headers, filter where it is long
  const body = table.tBodies[0], rows = [...body.rows], state = { column: null, down: false };
  const names = [...table.tHead.rows[0].cells].map((cell, i) => ({ id: i, name: cell.textContent, number: cell.classList.contains("n") }));
  const values = new Map(rows.map((row) => [row, Object.fromEntries([...row.cells].map((cell, i) => [i, cellValue(cell.textContent)]))]));
  const redraw = () => {
    const byRow = rows.map((row) => ({ ...values.get(row), row }));
    body.replaceChildren(...(state.column === null ? byRow : sorted(byRow, state)).map((item) => item.row));
    table.tHead.replaceChildren(header(names, state, redraw));
  };
  redraw.head = table.tHead;
  redraw();
  if (rows.length < 13) return;
  table.parentNode.classList.add("tall");
  const count = make("span", { class: "muted", role: "status" });
  const filter = (event) => {
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(event.target.value.toLowerCase());
    say(count, `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`);
  };
  const input = make("input", { type: "search", "aria-label": `Filter: ${table.caption.textContent}`, oninput: filter });
  table.parentNode.before(make("div", { class: "row filter" }, make("label", {}, "Filter ", input), count));
}

// --- models -----------------------------------------------------------------------------------------------

function matches(model) {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = ["model", "group", "modality", "family", "objective", "dataset"].map((name) => model[name]).join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function boardRows() {
  return data.models.map((model, row) => {
    const scores = scoresOf(row), q = tables()?.q?.[row];
    const best = scores.length && finite(scores).length ? scores.indexOf(Math.max(...finite(scores))) : -1;
    const tested = q ? finite(q) : [];
    const sure = sureOf(), interval = sure && sure.low[row] !== null ? `${shown(sure.low[row])} to ${shown(sure.high[row])}` : null;
    return {
      row, ...model, interval, letters: sure?.letters[row] ?? null, score: mean(scores), best: best < 0 ? null : data.rois[best].roi, top: best < 0 ? null : scores[best],
      above: tested.length ? tested.filter((value) => value < 0.05).length / tested.length : null,
    };
  });
}

function drawBoard() {
  const scored = data.features.length > 0, rows = boardRows();
  const most = Math.max(...finite(rows.map((row) => row.score)), 1e-9);
  const known = (name) => rows.some((row) => row[name] !== null && row[name] !== undefined);
  const columns = [
    { id: "model", name: "model" }, scored && { id: "score", name: `mean ${valueName()}`, number: true },
    known("interval") && { id: "interval", name: "95 % interval", number: true }, known("letters") && { id: "letters", name: "apart" },
    { id: "group", name: data.words[0].replace("group by ", "") }, known("above") && { id: "above", name: "above null", number: true },
    known("size") && { id: "parameters", name: "size", number: true }, known("family") && { id: "family", name: "family" },
    known("best") && { id: "best", name: "best region" }, !scored && known("silhouette") && { id: "silhouette", name: "silhouette", number: true },
  ].filter(Boolean);
  const board = $("board"), ranks = sorted(rows, { column: "score", down: true }).map((row) => row.row);
  const visible = sorted(rows, order).filter((row) => matches(data.models[row.row]));
  const cell = (row, { id, number }) => {
    if (id === "score") {
      const bar = make("span", { class: "bar", style: `width: ${Math.max(0, 70 * row.score / most)}px; background: ${style(row).color}` });
      return make("td", { class: "n" }, bar, shown(row.score));
    }
    const text = { parameters: row.size, above: row.above === null ? "–" : `${Math.round(100 * row.above)} %`,
      best: row.best ?? "–", silhouette: shown(row.silhouette ?? null, 2) };
    return make("td", { class: number ? "n" : null }, id in text ? text[id] ?? "–" : row[id] ?? "–");
  };
  drawBoard.head = board.tHead;
  board.tHead.replaceChildren(header(columns, order, drawBoard));
  refill(board.tBodies[0], visible.map((row) => {
    const name = choice(row.row, row.model, row.row === chosen.model);
    const first = make("th", { scope: "row", title: row.note ?? null }, scored ? `${ranks.indexOf(row.row) + 1}. ` : "", name);
    return make("tr", { class: "click", "aria-selected": row.row === chosen.model, onclick: () => selectModel(row.row) },
      first, ...columns.slice(1).map((column) => cell(row, column)));
  }));
  $("letters").hidden = !known("letters");
  say($("count"), `${visible.length} of ${rows.length} models`);
}

function told(row) {  // what a pointer finds on a model
  const model = data.models[row], lines = [`<b>${safe(model.model)}</b>`, safe(model.group)];
  if (model.family) lines.push(`family ${safe(model.family)}`);
  if (model.size) lines.push(`${safe(model.size)} parameters`);
  if (data.features.length) lines.push(`mean ${valueName()} ${shown(mean(scoresOf(row)))}`);
  if (model.silhouette !== undefined) lines.push(`silhouette ${shown(model.silhouette, 2)}`);
  return lines.join("<br>");
}

const PLACES = {
  level: ["levels (PCA)", "PC1", "PC2"], pattern: ["patterns, each model standardized (PCA)", "PC1", "PC2"],
  correlation: ["patterns, correlation distance (MDS)", "MDS1", "MDS2"], size: ["score against size", "parameters", "score"],
};

function placesOf() {
  const found = { ...data.spaces[`${chosen.feature} ${chosen.number} ${chosen.value}`] };
  if (Object.keys(data.spaces).length && data.features.length && new Set(finite(data.models.map((model) => model.parameters))).size > 2) {
    const y = data.models.map((_, row) => mean(scoresOf(row)));
    found.size = { x: data.models.map((model) => model.parameters ?? null), y, share: [null, null] };
  }
  return found;
}

function drawSpace() {
  const places = placesOf(), names = Object.keys(PLACES).filter((name) => places[name]);
  if (!names.length) {
    $("space-box").hidden = true;
    return;
  }
  $("space-box").hidden = false;
  if (!names.includes(chosen.place)) chosen.place = names[0];
  fill($("place"), names.map((name) => [name, PLACES[name][0]]), chosen.place);
  const place = places[chosen.place], [, first, second] = PLACES[chosen.place];
  const axis = (name, share) => ({ title: { text: share ? `${name} (${Math.round(100 * share)} % of variance)` : name }, zeroline: false });
  const crowded = data.models.length > 20;
  const traces = Object.entries(data.groups).map(([group, { color, symbol }]) => {
    const rows = data.models.map((_, row) => row).filter((row) => data.models[row].group === group && place.x[row] !== null);
    return {
      type: "scatter", mode: crowded ? "markers" : "markers+text", name: safe(group),
      x: rows.map((row) => place.x[row]), y: rows.map((row) => place.y[row]), customdata: rows.map((row) => data.models[row].model),
      text: rows.map((row) => safe(data.models[row].model)), textposition: "top center", textfont: { size: 11, color }, cliponaxis: false,
      hovertext: rows.map(told), hovertemplate: "%{hovertext}<extra></extra>",
      marker: { color, symbol, size: 11, opacity: rows.map((row) => (matches(data.models[row]) ? 1 : 0.12)), line: { color: "@card", width: 1 } },
    };
  });
  if (place.x[chosen.model] !== null) {
    traces.push({
      type: "scatter", mode: crowded ? "markers+text" : "markers", x: [place.x[chosen.model]], y: [place.y[chosen.model]],
      text: [`<b>${safe(data.models[chosen.model].model)}</b>`], textposition: "top center", hoverinfo: "skip", showlegend: false,
      marker: { symbol: "circle-open", size: 20, color: "@ink", line: { width: 2.5 } }, cliponaxis: false,
    });
  }
  const bySize = chosen.place === "size";
  draw("space", traces, {
    xaxis: { ...axis(first, place.share[0]), ...(bySize ? { type: "log" } : {}) },
    yaxis: bySize ? axis(`mean ${valueName()}`) : { ...axis(second, place.share[1]), scaleanchor: "x" },
    uirevision: `${chosen.feature} ${chosen.number} ${chosen.value} ${chosen.place}`,
  }, `One point per model: ${PLACES[chosen.place][0]}. The leaderboard has the same models as a table.`);
  const tested = ["feature", "number", "value", "place"].every((name) => chosen[name] === data.start[name]);
  $("space-note").textContent = bySize || !data.tested ? "" : tested ? "The tests of this page are of these places." :
    "Positions only: the tests of this page are of the space that it opens with.";
}

// --- one model --------------------------------------------------------------------------------------------

function drawModel() {
  const model = data.models[chosen.model], { color } = style(model);
  $("model").hidden = !data.features.length;
  if ($("model").hidden) return;
  $("model-name").textContent = model.model;
  const facts = [model.group, model.family && `family ${model.family}`, model.size && `${model.size} parameters`, model.objective,
    model.n_blocks && `${model.n_blocks} blocks`, model.dataset && `scored on ${model.dataset}`, model.license, model.source, model.note];
  $("card").textContent = facts.filter(Boolean).join(" · ");
  drawSpectrum(model, color);
  drawDepth(model, color);
  drawFeatures(model, color);
}

function drawSpectrum(model, color) {
  const turn = Array.from({ length: 181 }, (_, i) => (i * Math.PI) / 90);
  const circle = { x: turn.map(Math.cos), y: turn.map(Math.sin), type: "scatter", mode: "lines", line: { color: "@ink", width: 1.2 }, hoverinfo: "skip", showlegend: false };
  const stable = data.models.flatMap((other, row) => {
    const { real, imag, kind } = data.spectra[row];
    return real.map((x, i) => [x, imag[i], other.model, kind[i]]).filter(([, y, , k]) => k === "stable" && y >= 0);
  });
  const names = { stable: "stable mode", conjugate: "its conjugate", other: "other modes" }, own = data.spectra[chosen.model];
  const parts = Object.entries(names).map(([kind, name]) => {
    const rows = own.kind.map((k, i) => (k === kind ? i : -1)).filter((i) => i >= 0);
    return {
      type: "scatter", mode: "markers", name, x: rows.map((i) => own.real[i]), y: rows.map((i) => own.imag[i]),
      hovertext: rows.map((i) => `${name}<br>${shown(own.real[i])} ${own.imag[i] < 0 ? "−" : "+"} ${shown(Math.abs(own.imag[i]))} i<br>modulus ${shown(Math.hypot(own.real[i], own.imag[i]))}`),
      hovertemplate: "%{hovertext}<extra></extra>",
      marker: { color, size: 11, symbol: kind === "other" ? "circle-open" : "circle", opacity: kind === "conjugate" ? 0.4 : 1, line: { width: 1.5, color: kind === "other" ? color : "@card" } },
    };
  }).filter((part) => part.x.length);
  const faint = {
    type: "scatter", mode: "markers", name: "others' stable modes", x: stable.map((s) => s[0]), y: stable.map((s) => s[1]),
    customdata: stable.map((s) => s[2]), hovertext: stable.map((s) => safe(s[2])), hovertemplate: "%{hovertext}<extra></extra>",
    marker: { color: "@muted", size: 6, opacity: 0.5 },
  };
  // all stable modes sit near 1: the inset shows where they differ
  const near = stable.filter((s) => Math.hypot(s[0], s[1]) < 1.6), xs = near.map((s) => s[0]), ys = near.map((s) => s[1]);
  const low = [quantile(xs, 0.02) ?? 0.9, quantile(ys, 0) ?? 0], high = [Math.max(quantile(xs, 0.98) ?? 1, 1), quantile(ys, 0.98) ?? 0.1];
  const half = 0.6 * Math.max(high[0] - low[0], high[1] - low[1], 0.02), middle = [0, 1].map((i) => (low[i] + high[i]) / 2);
  const [x0, x1, y0, y1] = [middle[0] - half, middle[0] + half, middle[1] - half, middle[1] + half];
  const crowded = half < 0.5;
  const inset = (trace) => ({ ...trace, xaxis: "x2", yaxis: "y2", showlegend: false });
  const enlarged = {
    xaxis2: { range: [x0, x1], domain: [0.68, 1], anchor: "y2", title: { text: "enlarged" }, nticks: 4 },
    yaxis2: { range: [y0, y1], anchor: "x2", scaleanchor: "x2", nticks: 5 },
    shapes: [{ type: "rect", x0, x1, y0, y1, line: { color: "@muted", width: 1 } }],
  };
  const main = own.kind.indexOf("stable"), modulus = main < 0 ? "not known" : shown(Math.hypot(own.real[main], own.imag[main]));
  draw("spectrum", [circle, faint, ...parts, ...(crowded ? [circle, faint, ...parts].map(inset) : [])], {
    xaxis: { range: [-1.15, 1.15], domain: [0, crowded ? 0.54 : 1], title: { text: "real part" }, dtick: 1 },
    yaxis: { range: [-1.15, 1.15], scaleanchor: "x", title: { text: "imaginary part" }, dtick: 1 },
    ...(crowded ? enlarged : {}), legend: { ...LEGEND, font: { size: 11 } }, margin: { l: 46, r: 10, t: 8, b: 40 },
  }, `Eigenvalues of ${model.model}: its stable mode has modulus ${modulus}.`);
}

function drawDepth(model, color) {
  const own = data.depth[chosen.model], where = own.layer.map((layer, i) => `block ${own.depth[i]}: ${safe(layer)}`);
  const line = (name, values, more) => ({ type: "scatter", name, x: own.depth, y: values, text: where, hovertemplate: `%{text}<br>${name} %{y:.3f}<extra></extra>`, ...more });
  const traces = [
    line("weight |c| in the stable mode", own.weight, { mode: "lines+markers", fill: "tozeroy", line: { color }, marker: { color, size: 5 } }),
    finite(own.r).length && line("r of the block alone", own.r, { mode: "lines+markers", yaxis: "y2", line: { color: "@ink", dash: "dot" }, marker: { color: "@ink", size: 5 } }),
  ].filter(Boolean);
  draw("depth", own.depth.length ? traces : [], {
    xaxis: { title: { text: `block, of ${own.depth.length}` }, ...(own.depth.length < 12 ? { dtick: 1 } : {}) },
    yaxis: { title: { text: "weight |c|" }, rangemode: "tozero" }, yaxis2: { title: { text: "r of the block" }, overlaying: "y", side: "right", showgrid: false, zeroline: false, rangemode: "tozero", tickformat: ".2f", nticks: 6 },
    legend: { ...LEGEND, font: { size: 11 } }, margin: { l: 46, r: 46, t: 8, b: 40 },
  }, `Weight of each block in the stable mode of ${model.model}, and the score of each block alone.`);
}

function drawFeatures(model, color) {
  const number = data.numbers.length > 1 ? chosen.number : data.start.number;
  const features = data.features.filter(({ id }) => finite(scoresOf(chosen.model, id, number)).length).reverse();
  const values = features.map(({ id }) => scoresOf(chosen.model, id, number));
  const sure = features.length > 0 && features.every(({ id }) => (sureOf(id)?.low[chosen.model] ?? null) !== null);
  const middles = values.map(mean), what = sure ? "95 % interval" : "middle half of the regions";
  const ends = sure ? ["low", "high"].map((end) => features.map(({ id }) => sureOf(id)[end][chosen.model]))
    : [0.25, 0.75].map((share) => values.map((part) => quantile(part, share)));
  const traces = [
    { type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip", line: { color: "@muted", width: 7 }, opacity: 0.45,
      x: values.flatMap((_, i) => [ends[0][i], ends[1][i], null]), y: values.flatMap((_, i) => [i, i, null]) },
    { type: "scatter", mode: "markers", showlegend: false, x: middles, y: features.map((_, i) => i),
      hovertext: features.map(({ name }, i) => `${safe(name)}<br>mean ${valueName()} ${shown(middles[i])}<br>${what}: ${shown(ends[0][i])} to ${shown(ends[1][i])}`),
      hovertemplate: "%{hovertext}<extra></extra>",
      marker: { size: 13, color: features.map(({ id }) => (id === "stable_mode" ? color : "@ink")), symbol: features.map(({ id }) => (id === "stable_mode" ? "circle" : "circle-open")), line: { width: 2 } } },
  ];
  draw("features", traces, {
    xaxis: { title: { text: `${valueName()}${numberName()}` }, rangemode: "tozero" },
    yaxis: { tickvals: features.map((_, i) => i), ticktext: features.map(({ name }) => safe(name.replace(" (chosen in training)", ""))), range: [-0.6, features.length - 0.4] },
    margin: { l: 50, r: 10, t: 8, b: 40 },
  }, `${valueName()} of each feature of ${model.model}: ${features.map(({ name }, i) => `${name} ${shown(middles[i])}`).join(", ")}`);
  $("model-note").textContent = `Baselines: dot, mean over regions; bar, ${what}. Spectrum: a framed part is shown enlarged; click a faint point to see its model.`;
}

// --- regions ----------------------------------------------------------------------------------------------

function mapChoices() {
  const own = [["model", `the chosen model: ${data.models[chosen.model].model}`], ["mean", "mean over all models"]];
  return [...own, ...data.maps.map((map, i) => [String(i), map.name])];
}

function mapped() {  // the values of the chosen map, its label, and its limits
  const level = chosen.scaling === "level";
  const of = (row) => (level ? scoresOf(row) : standardized(scoresOf(row)));
  let values, label = `${valueName()}${level ? "" : ", standardized"} of ${featureName()}${numberName()}`;
  if (chosen.map === "model") values = of(chosen.model);
  else if (chosen.map === "mean") {
    const all = data.models.map((_, row) => of(row));
    values = data.rois.map((_, roi) => mean(all.map((scores) => scores[roi] ?? null)));
  } else ({ values, name: label } = data.maps[chosen.map]);
  const known = finite(values);
  const top = data.maps[chosen.map]?.top ?? (quantile(known, 0.99) || 1), low = Math.min(0, ...known);
  return { values, label, low, top: top > low ? top : low + 1 };
}

function shade(value, { low, top }) {
  const place = Math.min(1, Math.max(0, (value - low) / (top - low))) * (data.colors.length - 1);
  const i = Math.min(Math.floor(place), data.colors.length - 2), part = place - i;
  const mixed = [1, 3, 5].map((at) => [0, 1].map((step) => parseInt(data.colors[i + step].slice(at, at + 2), 16)));
  return `rgb(${mixed.map(([a, b]) => Math.round(a + part * (b - a))).join(",")})`;
}

const VIEWS = { left: [-1.9, 0, 0.1], right: [1.9, 0, 0.1], above: [0, -0.01, 2], below: [0, -0.01, -2], front: [0, 2, 0.1], back: [0, -2, 0.1], "left, medial": [1.9, 0, 0.1], "right, medial": [-1.9, 0, 0.1] };
const UNSCORED = "rgb(203,170,140)", FOLD = ["rgb(205,205,208)", "rgb(168,168,172)"];

function drawBrain(map) {
  if (!data.surface || !drawBrain.ready) return;
  for (const button of $("views").children) button.setAttribute("aria-pressed", button.textContent === chosen.view);
  const only = chosen.view.endsWith("medial") ? chosen.view.split(",")[0] : null;
  const traces = Object.entries(data.surface.sides).filter(([side]) => !only || side === only).map(([side, { points, sulcus, owner }]) => {
    const shift = only ? 0 : side === "left" ? -45 : 45, [i, j, k] = data.surface.faces;
    const of = owner.map((roi) => (roi < 0 ? null : map.values[roi] ?? null));
    return {
      type: "mesh3d", name: side, x: points[0].map((x) => x + shift), y: points[1], z: points[2], i, j, k, flatshading: false,
      vertexcolor: owner.map((roi, v) => (roi < 0 ? FOLD[sulcus[v]] : of[v] === null ? UNSCORED : shade(of[v], map))),
      hovertext: owner.map((roi, v) => (roi < 0 ? "no region" : `<b>${safe(data.rois[roi].roi)}</b>${data.rois[roi].network ? `<br>${safe(data.rois[roi].network)}` : ""}<br>${of[v] === null ? "no score" : shown(of[v])}`)),
      hovertemplate: "%{hovertext}<extra></extra>",
      lighting: { ambient: 0.65, diffuse: 0.55, specular: 0.05, roughness: 0.9 }, lightposition: { x: 0, y: 0, z: 3e4 },
    };
  });
  const axis = { visible: false, showspikes: false }, [x, y, z] = VIEWS[chosen.view];
  const far = 0.8 * Math.max(1, 480 / ($("brain").clientWidth || 480));
  draw("brain", traces, {
    scene: { xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: "data", dragmode: "orbit", camera: { eye: { x: far * x, y: far * y, z: far * z }, up: { x: 0, y: Math.abs(z) > 1 ? 1 : 0, z: Math.abs(z) > 1 ? 0 : 1 } }, uirevision: chosen.view },
    margin: { l: 0, r: 0, t: 0, b: 0 }, uirevision: chosen.view, dragmode: "orbit",
  }, `The inflated cortex seen from: ${chosen.view}. The table of regions has the same values.`);
}

function drawLegend(map) {
  const parts = [map.label, ": ", shown(map.low, 2), make("span", { class: "scale", style: `background: linear-gradient(to right, ${data.colors.join(",")})` }), shown(map.top, 2)];
  for (const [fill, name] of [[FOLD[0], "no region"], [UNSCORED, "region without a score"]]) parts.push(make("span", { class: "key" }, make("span", { class: "swatch", style: `background: ${fill}` }), name), " ");
  const { reached, discs } = data.surface;
  const note = `${reached} of ${data.rois.length} regions reach the cortical surface${discs ? "; each colors a disc around its center" : ""}. Drag to turn, click to see a region.`;
  $("legend").replaceChildren(make("p", { class: "muted" }, ...parts), make("p", { class: "muted" }, note));
}

function drawRegions() {
  $("regions").hidden = !data.rois.length;
  if ($("regions").hidden) return;
  fill($("map"), mapChoices(), chosen.map);
  $("scaling").parentNode.hidden = !["model", "mean"].includes(chosen.map);
  const map = mapped(), q = chosen.map === "model" ? tables()?.q?.[chosen.model] : null;
  if (data.surface) { drawLegend(map); drawBrain(map); }
  const rows = data.rois.map((roi, row) => ({ ...roi, row, value: map.values[row] ?? null, q: q?.[row] ?? null }));
  const columns = [{ id: "roi", name: "region" }, { id: "value", name: "value", number: true }, q && { id: "q", name: "q", number: true }, rows.some((row) => row.ceiling !== undefined) && { id: "ceiling", name: "ceiling (r)", number: true },
    rows.some((row) => row.network) && { id: "network", name: "network" }].filter(Boolean);
  const table = $("roi-table");
  drawRegions.head = table.tHead;
  table.tHead.replaceChildren(header(columns, roiOrder, drawRegions));
  const text = { value: (v, row) => [make("span", { class: "bar", style: `width: ${v === null ? 0 : Math.max(0, (90 * v) / map.top)}px; background: ${shade(Math.max(v ?? 0, map.top / 3), map)}` }), row.value === null ? "no score" : shown(v)],
    q: (v) => [v === null ? "–" : v < 0.001 ? "< 0.001" : shown(v)], ceiling: (v) => [shown(v, 2)] };
  refill(table.tBodies[0], sorted(rows, roiOrder).slice(0, 500).map((row) => make("tr", { class: "click", "aria-selected": row.row === chosen.roi, onclick: () => selectRoi(row.row) },
    make("th", { scope: "row" }, choice(row.row, row.roi, row.row === chosen.roi)),
    ...columns.slice(1).map(({ id, number }) => make("td", { class: number ? "n" : null }, ...(id in text ? text[id](row[id] ?? null, row) : [row[id] ?? "–"]))))));
  drawRegion();
}

function drawRegion() {
  const roi = data.rois[chosen.roi], rows = data.models.map((model, row) => ({ ...model, row, score: scoresOf(row)[chosen.roi] ?? null }));
  const known = sorted(rows.filter((row) => row.score !== null), { column: "score", down: false });
  $("region-name").textContent = `All models at ${roi.roi}${roi.network ? `, ${roi.network}` : ""}`;
  const lying = $("region").clientWidth > 760;  // models side by side where there is room, below each other on a phone
  $("region").style.height = lying ? "380px" : `${110 + 19 * Math.max(known.length, 2)}px`;
  const turned = (x, y) => (lying ? { x: y, y: x } : { x, y });
  const low = tables()?.[`${chosen.value}_low`], high = tables()?.[`${chosen.value}_high`], sure = low && high;
  const traces = Object.entries(data.groups).map(([group, { color, symbol }]) => {
    const own = known.map((row, at) => ({ ...row, at })).filter((row) => row.group === group);
    const end = (table, side) => own.map((row) => side * ((table[row.row][chosen.roi] ?? row.score) - row.score));
    return { type: "scatter", mode: "markers", name: safe(group), ...turned(own.map((row) => row.score), own.map((row) => row.at)), customdata: own.map((row) => row.model),
      ...(sure ? { [lying ? "error_y" : "error_x"]: { type: "data", symmetric: false, array: end(high, 1), arrayminus: end(low, -1), color, width: 0 } } : {}),
      hovertext: own.map((row) => `<b>${safe(row.model)}</b><br>${valueName()} ${shown(row.score)}${sure ? `<br>95 % interval ${shown(low[row.row][chosen.roi])} to ${shown(high[row.row][chosen.roi])}` : ""}`),
      hovertemplate: "%{hovertext}<extra></extra>", marker: { color, symbol, size: 9 } };
  });
  const ceiling = roi.ceiling === undefined ? null : chosen.value === "r2" ? roi.ceiling ** 2 : roi.ceiling;
  const scores = { title: { text: `${valueName()} of ${featureName()}${numberName()}` }, rangemode: "tozero" };
  const names = { tickvals: known.map((_, i) => i), ticktext: known.map((row) => safe(row.model)), range: [-0.7, known.length - 0.3], tickfont: { size: 11 }, ...(lying ? { tickangle: 40 } : {}) };
  const line = { type: "line", line: { color: "@ink", dash: "dash", width: 1.5 } };
  draw("region", traces, {
    [lying ? "yaxis" : "xaxis"]: scores, [lying ? "xaxis" : "yaxis"]: names,
    shapes: ceiling === null ? [] : [lying ? { ...line, y0: ceiling, y1: ceiling, x0: 0, x1: 1, xref: "paper" } : { ...line, x0: ceiling, x1: ceiling, y0: 0, y1: 1, yref: "paper" }],
    annotations: ceiling === null ? [] : [{ ...(lying ? { x: 0, xref: "paper", y: ceiling } : { x: ceiling, y: 0, yref: "paper" }), text: "noise ceiling", showarrow: false, xanchor: lying ? "left" : "right", yanchor: "bottom", font: { size: 11 } }],
  }, `${valueName()} of all models at ${roi.roi}.`);
}

// --- choices ----------------------------------------------------------------------------------------------

function fill(select, pairs, value) {
  if (JSON.stringify(pairs) !== select.dataset.pairs) {
    select.replaceChildren(...pairs.map(([id, name]) => make("option", { value: id }, name)));
    select.dataset.pairs = JSON.stringify(pairs);
  }
  select.value = value;
}

function tellModel() {
  const score = mean(scoresOf(chosen.model));
  $("said").textContent = `${data.models[chosen.model].model}${score === null ? "" : `: mean ${valueName()} ${shown(score)}`}`;
}

function selectModel(row) {
  if (row < 0) return;
  chosen.model = row;
  chosen.map = data.features.length ? "model" : chosen.map;
  $("chosen").value = String(row);
  tellModel();
  drawBoard(); drawSpace(); drawModel(); drawRegions();
}

function selectRoi(row) {
  if (row < 0 || row === undefined) return;
  chosen.roi = row;
  $("said").textContent = `Region ${data.rois[row].roi}`;
  drawRegions();
}

const seen = new Set();  // charts further down the page are drawn when they come near

function drawAll() {
  drawBoard(); drawSpace(); drawModel(); drawRegions();
  for (const id of seen) drawChart(id);
}

function drawChart(id) {
  const { data: traces, layout, title } = data.charts[id];
  draw(id, structuredClone(traces), structuredClone(layout), title);
}

function whenSeen(node, act) {
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    act();
  }, { rootMargin: "300px" }).observe(node);
}

function listen() {
  for (const name of ["feature", "number", "value", "place", "map", "scaling"]) {
    $(name).addEventListener("change", (event) => {
      chosen[name] = event.target.value;
      if (name === "place") drawSpace();
      else if (name === "map" || name === "scaling") drawRegions();
      else { tellModel(); drawBoard(); drawSpace(); drawModel(); drawRegions(); }
    });
  }
  $("chosen").addEventListener("change", (event) => selectModel(Number(event.target.value)));
  $("filter").addEventListener("input", () => { drawBoard(); drawSpace(); });
  document.addEventListener("focusin", ({ target }) => {  // a wide table would keep its first column out of sight
    if (target.matches("button:focus-visible")) target.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.style.colorScheme || (dark.matches ? "dark" : "light")) === "dark";
  $("look").addEventListener("click", () => { root.style.colorScheme = isDark() ? "light" : "dark"; drawAll(); });
  dark.addEventListener("change", drawAll);
  addEventListener("beforeprint", () => { Object.keys(data.charts).forEach((id) => seen.add(id)); root.dataset.before = root.style.colorScheme; root.style.colorScheme = "light"; drawAll(); });
  addEventListener("afterprint", () => { root.style.colorScheme = root.dataset.before; drawAll(); });
}

function prepareBrain() {
  const gl = document.createElement("canvas").getContext("webgl");
  if (!data.surface || !gl) { $("brain-box").hidden = true; data.surface = null; return; }
  $("views").replaceChildren(...Object.keys(VIEWS).map((view) => make("button", { type: "button", onclick: () => { chosen.view = view; drawBrain(mapped()); } }, view)));
  whenSeen($("brain-box"), () => { drawBrain.ready = true; drawBrain(mapped()); });
}

const nextFrame = () => new Promise((resolve) => setTimeout(resolve));  // lets the browser show what is there

async function open() {
  const library = unpacked("library");
  data = JSON.parse(await unpacked("data"));
  Object.assign(chosen, data.start, { map: data.features.length ? "model" : "0", scaling: "level", roi: 0, view: "left" });
  chosen.model = sorted(boardRows(), order)[0].row;
  const best = scoresOf(chosen.model);
  if (finite(best).length) chosen.roi = best.indexOf(Math.max(...finite(best)));
  fill($("feature"), data.features.map(({ id, name }) => [id, name]), chosen.feature);
  fill($("number"), data.numbers.map(({ id, name }) => [id, name]), chosen.number);
  fill($("chosen"), data.models.map((model, row) => [String(row), model.model]), String(chosen.model));
  $("value").value = chosen.value;
  $("number").parentNode.hidden = data.numbers.length < 2;
  $("tools").hidden = !data.features.length;
  tellModel();
  drawBoard();  // it needs no chart library
  await nextFrame();
  document.head.append(Object.assign(document.createElement("script"), { textContent: await library }));
  $("library").remove();
  drawSpace();
  await nextFrame();
  drawModel();
  prepareBrain();
  drawRegions();
  document.querySelectorAll("table.grid").forEach(enliven);
  for (const id of Object.keys(data.charts)) whenSeen($(id), () => { seen.add(id); drawChart(id); });
  listen();
  $("js-plotly-tester")?.setAttribute("aria-hidden", "true");  // where Plotly measures text, out of sight
  document.body.dataset.drawn = "yes";
}

open().catch((error) => {
  $("failed").hidden = false;
  $("failed").textContent = `The charts could not be drawn (${error.message}). The tables below and the figures in figures/ remain.`;
  throw error;
});
