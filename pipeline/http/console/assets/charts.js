// The charts of a page: an element with data-chart="in handled" draws these members of the samples over the last minutes.

import { onLive } from "./live.js";

const kept = 300; // samples: five minutes
const gap = 5; // seconds without a sample, after which the line is broken
const samples = [];
const plots = [];

function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function short(n) {
  if (n >= 1e6) return (n / 1e6).toFixed(n >= 1e7 ? 0 : 1) + "M";
  if (n >= 1e4) return Math.round(n / 1e3) + "k";
  if (n >= 1e3) return (n / 1e3).toFixed(1) + "k";
  return n >= 10 || Number.isInteger(n) ? String(Math.round(n)) : n.toFixed(1);
}

function options(element, names, tones) {
  const text = colour("muted"), line = colour("line");
  const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width: Math.max(element.clientWidth, 100), height: element.clientHeight,
    legend: { show: false }, cursor: { y: false, points: { size: 5 }, drag: { x: false } },
    scales: { x: { range: (u, min, max) => [max - kept, max] }, y: { range: (u, min, max) => [0, Math.max(max * 1.1, 1)] } },
    axes: [
      { ...axis, size: 22, space: 48, values: (u, at) => at.map((s) => new Date(s * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })) },
      { ...axis, size: 40, space: 32, values: (u, ticks) => ticks.map(short) },
    ],
    series: [{}, ...names.map((name, i) => ({ stroke: colour(tones[i]), width: 1.5, points: { show: false }, fill: i === 0 ? fill(colour(tones[i])) : undefined }))],
  };
}

function fill(rgb) {
  return rgb.replace(/^rgb\((.*)\)$/, "rgba($1, 0.08)");
}

function columns(names) {
  const at = [], values = names.map(() => []);
  let last;
  for (const s of samples) {
    if (last !== undefined && s.at - last > gap) {
      at.push(last + 1);
      for (const v of values) v.push(null);
    }
    last = s.at;
    at.push(s.at);
    names.forEach((name, i) => values[i].push(s[name]));
  }
  return [at, ...values];
}

function make(plot) {
  plot.chart?.destroy();
  plot.chart = new uPlot(options(plot.element, plot.names, plot.tones), columns(plot.names), plot.element);
}

for (const element of document.querySelectorAll("[data-chart]")) {
  const plot = { element, names: element.dataset.chart.split(" "), tones: element.dataset.tones.split(" ") };
  plots.push(plot);
  make(plot);
  new ResizeObserver(() => plot.chart.setSize({ width: Math.max(element.clientWidth, 100), height: element.clientHeight })).observe(element);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(make));

function add(list) {
  const newest = samples.at(-1)?.at ?? 0;
  samples.push(...list.filter((s) => s.at > newest));
  samples.splice(0, Math.max(0, samples.length - kept));
  for (const { chart, names } of plots) chart.setData(columns(names));
}
onLive("samples", add);
onLive("sample", (s) => add([s]));
