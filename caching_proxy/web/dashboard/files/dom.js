// Everything on the page is made here, out of text: no markup is ever parsed.

export const $ = (id) => document.getElementById(id);

export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") made.className = value;
    else if (name === "on") for (const [event, handler] of Object.entries(value)) made.addEventListener(event, handler);
    else made.setAttribute(name, value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return made;
}

// columns: [{title, number, head, cell(row)}]; a cell is a text or a node.
export function table(target, columns, rows, empty) {
  if (!rows.length) {
    target.replaceChildren(el("caption", {}, empty));
    return;
  }
  const heads = columns.map((column) => el("th", { scope: "col", class: column.number ? "number" : "" }, column.title));
  const body = rows.map((row) =>
    el("tr", {}, ...columns.map((column) => {
      const kind = column.number ? "number" : column.long ? "break" : "";
      return column.head ? el("th", { scope: "row", class: kind }, column.cell(row)) : el("td", { class: kind }, column.cell(row));
    })));
  target.replaceChildren(el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...body));
}

export function pairs(target, list) {
  target.replaceChildren(...list.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

export function count(n) {
  return n === null || n === undefined ? "–" : Math.round(n).toLocaleString("en");
}

export function rate(n) {
  return n >= 100 ? count(n) : n.toLocaleString("en", { maximumFractionDigits: 1 });
}

export function percent(ratio) {
  return ratio === null || ratio === undefined ? "–" : `${(ratio * 100).toLocaleString("en", { maximumFractionDigits: 1 })} %`;
}

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    at += 1;
  }
  return `${n.toLocaleString("en", { maximumFractionDigits: at ? 1 : 0 })} ${units[at]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (size < 1) return `${(seconds * 1e3).toLocaleString("en", { maximumFractionDigits: size < 0.1 ? 1 : 0 })} ms`;
  if (size < 120) return `${seconds.toLocaleString("en", { maximumFractionDigits: 1 })} s`;
  if (size < 7200) return `${Math.floor(seconds / 60)} min`;
  if (size < 172800) return `${(seconds / 3600).toLocaleString("en", { maximumFractionDigits: 1 })} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}
