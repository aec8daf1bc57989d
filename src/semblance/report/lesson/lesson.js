"use strict";
// Plays recorded runs: two maps, curves, and what lies inside a method, at one moment `at`, counted in frames.

const chapters = JSON.parse(document.getElementById("data").textContent);
const $ = (selector) => document.querySelector(selector);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const SECONDS = 14; // of a film
const MARKS = ["disk", "ring", "triangle", "square", "star", "cross", "crescent", "bars", "hourglass", "dots"];
const [mapWith, mapBare] = document.querySelectorAll(".map");
const maps = [mapWith, mapBare];
mapWith.classList.add("with");
mapBare.classList.add("bare");
let chapter, at = 0, playing = false, before = 0;

// --- data

function numbers(text, Kind) {
  return text && new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}
for (const { runs } of chapters) {
  for (const run of runs) {
    run.places = numbers(run.places, Int16Array);
    run.spectrum = numbers(run.spectrum, Uint8Array);
    run.shares = numbers(run.shares, Int16Array);
    run.kept = numbers(run.kept, Uint8Array);
    run.correlation = numbers(run.correlation, Int8Array);
  }
}
const frames = () => Math.max(...chapter.runs.map((run) => run.steps.length));
const frameOf = (run) => Math.min(Math.round(at), run.steps.length - 1); // a run that diverged ends early
function frame(run, values, index = frameOf(run)) {
  const size = values.length / run.steps.length;
  return values.subarray(index * size, (index + 1) * size);
}

// --- drawing

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
}
const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

// A canvas of its size on the page, in CSS pixels: [context, width, height].
function ready(canvas) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = `${rem()}px ui-sans-serif, system-ui, sans-serif`;
  return [context, width, height];
}

// A class's mark around (x, y): names of a letter or digit, and the shapes of the set of that name, are marks themselves.
function mark(c, name, x, y, r) {
  if (name.length === 1) {
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(name, x, y);
    return;
  }
  const star = (corners, depth, turn) => {
    for (let i = 0; i < 2 * corners; i++) {
      const a = turn + (i * Math.PI) / corners, d = i % 2 ? r * depth : r;
      c.lineTo(x + d * Math.sin(a), y - d * Math.cos(a));
    }
    c.closePath();
    c.fill();
  };
  c.beginPath();
  if (name === "disk") { c.arc(x, y, r * 0.85, 0, 7); c.fill(); }
  else if (name === "ring") { c.arc(x, y, r * 0.7, 0, 7); c.stroke(); }
  else if (name === "triangle") star(3, 0.5, 0);
  else if (name === "square") c.fillRect(x - r * 0.75, y - r * 0.75, r * 1.5, r * 1.5);
  else if (name === "star") star(5, 0.42, 0);
  else if (name === "cross") { c.fillRect(x - r, y - r * 0.3, 2 * r, r * 0.6); c.fillRect(x - r * 0.3, y - r, r * 0.6, 2 * r); }
  else if (name === "crescent") { c.arc(x, y, r * 0.9, 0.9, 5.4); c.quadraticCurveTo(x - r * 0.5, y, x + r * 0.9 * Math.cos(0.9), y + r * 0.9 * Math.sin(0.9)); c.fill(); }
  else if (name === "bars") for (const i of [-0.8, -0.1, 0.6]) c.fillRect(x + i * r, y - r * 0.9, r * 0.4, r * 1.8);
  else if (name === "hourglass") { c.moveTo(x - r * 0.9, y - r * 0.9); c.lineTo(x + r * 0.9, y - r * 0.9); c.lineTo(x - r * 0.9, y + r * 0.9); c.lineTo(x + r * 0.9, y + r * 0.9); c.closePath(); c.fill(); }
  else for (const [i, j] of [[-1, -1], [1, -1], [-1, 1], [1, 1]]) { c.moveTo(x, y); c.beginPath(); c.arc(x + i * r * 0.5, y + j * r * 0.5, r * 0.36, 0, 7); c.fill(); }
}
const markOf = (label) => MARKS.includes(chapter.classes[label]) || chapter.classes[label]?.length === 1 ? chapter.classes[label] : MARKS[label % MARKS.length];
function ink(c, label) {
  c.fillStyle = c.strokeStyle = colour(`c${label < 0 ? 9 : label % 10}`);
}

function drawMap(figure, run, k) {
  const [c, width, height] = ready(figure.querySelector("canvas"));
  const last = run.steps.length - 1, low = Math.min(Math.floor(at), last), high = Math.min(low + 1, last);
  const [from, to] = [frame(run, run.places, low), frame(run, run.places, high)];
  const part = calm.matches ? Math.round(at - low) : Math.min(at - low, 1), n = chapter.labels.length;
  const r = Math.max(5, Math.min(width, height) / 46), reach = Math.min(width, height) / 2 - 1.5 * r;
  c.lineWidth = r * 0.4;
  const styles = chapter.labels.map((label) => colour(`c${label < 0 ? 9 : label % 10}`));
  for (let i = 0; i < from.length / 2; i++) {
    const [x, y] = [0, 1].map((d) => (from[2 * i + d] * (1 - part) + to[2 * i + d] * part) / 32767);
    c.fillStyle = c.strokeStyle = styles[i % n];
    c.globalAlpha = i < n ? 0.9 : 0.45; // sounds are paler than what is seen
    mark(c, markOf(chapter.labels[i % n]), width / 2 + x * reach, height / 2 - y * reach, r * (i < n ? 1 : 0.8));
  }
  const f = frameOf(run), named = run.without.length ? `without ${run.without.join(" and ")}` : `with ${chapter.runs[1].without.join(" and ")}`;
  const far = run.directions[f] < 10 ? run.directions[f].toFixed(1) : Math.round(run.directions[f]);
  const told = `<span>${named}</span> <b>${run.collapsed[f] ? `✕ ${run.words[f]}` : `${run.words[f]}, ${far} directions`}</b>`;
  const caption = figure.querySelector("figcaption");
  if (caption.innerHTML !== told) caption.innerHTML = told;
  figure.querySelector("canvas").ariaLabel = `Map of ${n} samples, ${named}, step ${run.steps[f]}: ${run.words[f]}, deviation ${run.deviation[f]}, ${run.directions[f]} directions`;
}

// Two curves over frames, of values in [0, top], with the moment.
function drawDeviation(canvas) {
  const [c, width, height] = ready(canvas), em = rem(), left = 0.9 * em, bottom = height - 1.25 * em, count = frames() - 1;
  const top = Math.max(1.1, ...chapter.runs.flatMap((run) => run.deviation));
  const x = (i) => left + ((width - left - 0.4 * em) * i) / count, y = (v) => bottom - ((bottom - 4) * v) / top;
  axes(c, width, height, [[1, y(1)], [0, y(0)]], chapter.runs[0].steps, x);
  lines(c, chapter.runs.map((run) => run.deviation.map((v, i) => [x(i), y(v)])));
  c.strokeStyle = colour("ink");
  c.lineWidth = 2;
  c.beginPath();
  c.moveTo(x(at), 0);
  c.lineTo(x(at), bottom);
  c.stroke();
}

function axes(c, width, height, levels, steps, x) {
  const em = rem();
  c.fillStyle = colour("muted");
  c.strokeStyle = colour("grid");
  c.lineWidth = 2;
  for (const [name, y] of levels) {
    c.beginPath();
    c.moveTo(0.9 * em, y);
    c.lineTo(width, y);
    c.stroke();
    c.textBaseline = "middle";
    c.fillText(name, 0, Math.max(y, 0.5 * em));
  }
  c.textBaseline = "bottom";
  const last = steps.length - 1;
  for (const i of [0, Math.round(last / 3), Math.round((2 * last) / 3), last]) {
    c.textAlign = i === 0 ? "left" : i === last ? "right" : "center";
    c.fillText(i === last ? `step ${steps[i]}` : steps[i], i === last ? width : x(i), height);
  }
  c.textAlign = "left";
}

// With guards solid, without dashed, so that colour is not needed.
function lines(c, curves) {
  curves.forEach((points, k) => {
    c.strokeStyle = colour(k ? "bare" : "with");
    c.lineWidth = 4;
    c.setLineDash(k ? [9, 6] : []);
    c.beginPath();
    points.forEach(([x, y]) => c.lineTo(x, y));
    c.stroke();
  });
  c.setLineDash([]);
}

function drawSpectrum(canvas) {
  const [c, width, height] = ready(canvas), em = rem(), bottom = height - 1.25 * em, count = Math.max(...chapter.runs.map((run) => run.columns));
  const left = 3.2 * em, x = (i) => left + ((width - left - 4) * i) / (count - 1), y = (b) => bottom - ((bottom - 0.6 * em) * b) / 255;
  c.fillStyle = colour("muted");
  c.textBaseline = "middle";
  for (const [name, b] of [["1", 255], ["0.001", 127], ["10⁻⁶", 0]]) c.fillText(name, 0, y(b));
  c.textBaseline = "bottom";
  c.fillText("1st", left, height);
  c.textAlign = "right";
  c.fillText(`${count}th direction`, width, height);
  c.textAlign = "left";
  lines(c, chapter.runs.map((run) => [...frame(run, run.spectrum)].map((b, i) => [x(i), y(b)])));
}

// What lies inside, a square for each run: [title, draw] or null.
function inside() {
  const [whole] = chapter.runs;
  if (whole.shares) return [`groups in use: ${chapter.runs.map((run) => run.used[frameOf(run)]).join(" and ")} of ${whole.shares.length / whole.steps.length}`, drawShares];
  if (whole.correlation) return ["correlation of dimensions", drawCorrelation];
  if (whole.kept) return [`${chapter.runs.map((run) => `${Math.round((100 * frame(run, run.kept).filter(Boolean).length) / frame(run, run.kept).length)} %`)[0]} of its memory filled`, drawKept];
  return null;
}

function cells(canvas, count, draw) {
  const [c, width, height] = ready(canvas), side = Math.ceil(Math.sqrt(count)), size = Math.min(width, height) / side;
  for (let i = 0; i < count; i++) draw(c, (i % side) * size, Math.floor(i / side) * size, size, i);
}

// A cell for each prototype, its square as large as its share of the samples.
function drawShares(canvas, run) {
  const shares = frame(run, run.shares), even = 32767 / shares.length, largest = colour(run.without.length ? "bare" : "with");
  cells(canvas, shares.length, (c, x, y, size, i) => {
    c.fillStyle = colour("empty");
    c.fillRect(x, y, size - 1, size - 1);
    const side = Math.min(1, Math.sqrt(shares[i] / even) / 1.6) * (size - 1);
    c.fillStyle = largest;
    c.fillRect(x + (size - 1 - side) / 2, y + (size - 1 - side) / 2, side, side);
  });
}

// A row of the queue or bank in each cell: hollow where it is still empty, else a shade for where it points.
function drawKept(canvas, run) {
  const kept = frame(run, run.kept);
  cells(canvas, kept.length, (c, x, y, size, i) => {
    c.fillStyle = kept[i] ? `hsl(225 15% ${8 + (84 * kept[i]) / 255}%)` : colour("page");
    c.fillRect(x, y, size - 1, size - 1);
    if (!kept[i]) { c.strokeStyle = colour("grid"); c.strokeRect(x + 1, y + 1, size - 3, size - 3); }
  });
}

function drawCorrelation(canvas, run) {
  const values = frame(run, run.correlation), side = Math.sqrt(values.length);
  const [c, width, height] = ready(canvas), size = Math.min(width, height) / side;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  for (let i = 0; i < values.length; i++) { // how strong, by light; which sign does not matter to the loss but on the diagonal
    const strength = Math.abs(values[i]) / 127;
    c.fillStyle = `hsl(225 60% ${dark ? 8 + 78 * strength : 97 - 72 * strength}%)`;
    c.fillRect((i % side) * size, Math.floor(i / side) * size, size + 0.5, size + 0.5);
  }
}

function drawClips() {
  for (const [k, line] of document.querySelectorAll(".clips [data-run]").entries()) {
    const run = chapter.runs[+line.dataset.run], own = +line.dataset.clip, heard = run.heard[frameOf(run)][own];
    line.textContent = `${own === heard ? "✓" : "✕"} ♪ ${heard + 1} ${run.without.length ? "without" : "with"}`;
    line.dataset.heard = heard;
  }
}

function draw() {
  chapter.runs.forEach((run, k) => drawMap(maps[k], run, k));
  drawDeviation($("#deviation"));
  const inner = inside();
  if (inner) {
    $(".inside figcaption").textContent = inner[0];
    document.querySelectorAll(".inside canvas").forEach((canvas, k) => inner[1](canvas, chapter.runs[k]));
  }
  drawSpectrum($(inner ? ".more canvas" : ".spectrum canvas"));
  if (chapter.clips.length) drawClips();
  $("#at").value = at;
  const run = chapter.runs[0];
  $("output").textContent = `step ${run.steps[frameOf(run)]} of ${run.steps[run.steps.length - 1]}`;
}

// --- a family

function show(index) {
  chapter = chapters[index];
  document.querySelectorAll(".tab").forEach((tab, i) => i === index ? tab.setAttribute("aria-current", "true") : tab.removeAttribute("aria-current"));
  const texts = { h1: "headline", ".idea": "idea", ".trivial": "trivial", ".picture": "picture", ".equation": "equation", ".paper": "paper" };
  for (const [selector, key] of Object.entries(texts)) $(selector).textContent = chapter[key];
  $(".title").textContent = `${chapter.title}: branches and loss`;
  $(".guards").replaceChildren(...Object.entries(chapter.guards).flatMap(([name, what]) => {
    const bold = document.createElement("b");
    bold.textContent = name.replaceAll("_", " ");
    return [bold, `: ${what}. `];
  }));
  $(".inside").hidden = $(".more").hidden = !inside();
  $(".spectrum").hidden = !!inside();
  key();
  clips();
  $("#at").max = frames() - 1;
  at = Math.min(at, frames() - 1);
  draw();
}

function key() {
  $(".key").hidden = chapter.classes.every((name) => name.length === 1);
  $(".key").replaceChildren(...chapter.classes.map((name, label) => {
    const item = document.createElement("span"), canvas = document.createElement("canvas");
    item.append(canvas, name);
    requestAnimationFrame(() => {
      const [c, width, height] = ready(canvas);
      ink(c, label);
      c.lineWidth = width / 6;
      mark(c, markOf(label), width / 2, height / 2, width * 0.45);
    });
    return item;
  }));
}

function clips() {
  $(".clips").hidden = !chapter.clips.length;
  $(".clips div").replaceChildren(...chapter.clips.map((clip, i) => {
    const cell = document.createElement("figure"), image = new Image();
    image.src = clip.picture;
    image.alt = `clip ${i + 1}`;
    const button = (text, data, sound) => {
      const made = document.createElement("button");
      made.textContent = text;
      Object.assign(made.dataset, data);
      made.onclick = () => new Audio(chapter.clips[sound(made)].sound).play();
      return made;
    };
    cell.append(image, button(`♪ ${i + 1} its own`, {}, () => i),
      ...chapter.runs.map((_, run) => button("", { run, clip: i }, (made) => +made.dataset.heard)));
    return cell;
  }));
}

// --- time

function go(to) {
  at = Math.max(0, Math.min(frames() - 1, to));
  draw();
}
function play(on) {
  if (on && at >= frames() - 1) at = 0;
  playing = on;
  $("#play").textContent = on ? "❚❚" : "▶";
  $("#play").ariaLabel = on ? "Pause" : "Play";
  before = performance.now();
  if (on) requestAnimationFrame(tick);
}
function tick(now) {
  if (!playing) return;
  go(at + ((now - before) / 1000 / SECONDS) * (frames() - 1));
  before = now;
  if (at >= frames() - 1) play(false);
  else requestAnimationFrame(tick);
}

document.querySelectorAll(".tab").forEach((tab, i) => { tab.onclick = () => show(i); });
$("#play").onclick = () => play(!playing);
$("#at").oninput = () => { play(false); go(+$("#at").value); };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const acts = {
    " ": () => play(!playing), ArrowLeft: () => { play(false); go(Math.ceil(at) - 1); },
    ArrowRight: () => { play(false); go(Math.floor(at) + 1); }, Home: () => { play(false); go(0); }, End: () => { play(false); go(frames()); },
  };
  const number = parseInt(event.key, 10);
  if (number >= 1 && number <= chapters.length) show(number - 1);
  else if (acts[event.key]) acts[event.key]();
  else return;
  event.preventDefault();
});
addEventListener("resize", () => show(chapters.indexOf(chapter)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(chapters.indexOf(chapter)));

// #family=2&step=40 opens the page there; else each film lies at its end, where the verdict is.
const asked = new URLSearchParams(location.hash.slice(1));
const index = Math.min(chapters.length, Math.max(1, +asked.get("family") || 1)) - 1;
chapter = chapters[index];
const step = asked.has("step") ? +asked.get("step") : Infinity;
at = Math.max(0, chapter.runs[0].steps.filter((s) => s <= step).length - 1);
show(index);
