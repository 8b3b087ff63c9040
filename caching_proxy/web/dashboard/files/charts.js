// Lines over the last five minutes, drawn with uPlot. Each chart says its latest values in words as well.

import { $, el } from "./dom.js";

const SECONDS = 300;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export class Chart {
  // names: one for each line; format: a value in words; top: the fixed upper end of the scale, if there is one
  constructor(id, title, names, format, top = null) {
    this.box = $(`chart-${id}`);
    this.legend = $(`legend-${id}`);
    this.title = title;
    this.names = names;
    this.format = format;
    this.top = top;
    this.data = [[], ...names.map(() => [])];
    this.plot = null;
    new ResizeObserver(() => this.resize()).observe(this.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.make());
  }

  make() {
    if (this.plot) this.plot.destroy();
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    this.plot = new uPlot({
      width: this.box.clientWidth, height: this.box.clientHeight, legend: { show: false }, cursor: { show: false }, pxAlign: false,
      padding: [8, 26, 0, 0],
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, this.top ?? Math.max(high || 0, 1e-9) * 1.15] } },
      axes: [{ ...axis, size: 24, space: 70, values: (_, at) => at.map((one) => new Date(one * 1000).toLocaleTimeString("en-GB", this.span() < 180 ? {} : { hour: "2-digit", minute: "2-digit" })) },
             { ...axis, size: 52, space: 36, values: (_, at) => at.map((one) => this.format(one)) }],
      series: [{}, ...this.names.map((name, at) => ({ label: name, stroke: colour(`--series-${at + 1}`), width: 2, points: { show: false } }))],
    }, this.data, this.box);
  }

  span() {
    return this.data[0].length ? this.data[0].at(-1) - this.data[0][0] : 0;
  }

  resize() {
    if (this.plot && this.box.clientWidth) this.plot.setSize({ width: this.box.clientWidth, height: this.box.clientHeight });
  }

  add(time, values) {
    this.data[0].push(time);
    values.forEach((value, at) => this.data[at + 1].push(value));
    while (this.data[0].length > SECONDS) for (const line of this.data) line.shift();
    if (!this.plot) this.make();
    else this.plot.setData(this.data);
    const words = this.names.map((name, at) => `${name} ${values[at] === null ? "–" : this.format(values[at])}`);
    this.legend.replaceChildren(...words.map((word) => el("li", {}, word)));
    this.box.setAttribute("aria-label", `${this.title} now: ${words.join(", ")}`);
  }
}
