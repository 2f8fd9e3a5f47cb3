// What a loading looks like: blue, from 80 % on amber to vermilion, told apart by the colour-blind
// too, and wider the higher it is. Blue and amber meet at an edge, since mixed they are mud.

const LOADING_STOPS = [0, 0.4, 0.8, 0.8, 0.95, 1.0, 1.25];
const LOADING_COLOURS = {
  light: ["#c5d0db", "#93b7d8", "#3273ab", "#e6b32e", "#e67e17", "#cc3a12", "#7f1408"],
  dark: ["#3c4c5d", "#42749f", "#74b4e6", "#f2c64f", "#ff9a45", "#ff5c33", "#ffb8a6"],
};

const darkScheme = window.matchMedia("(prefers-color-scheme: dark)");

function channels(colour) {
  return [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
}

/** The colour of a loading (current over thermal limit). */
function loadingColour(rho) {
  const colours = LOADING_COLOURS[darkScheme.matches ? "dark" : "light"];
  const last = LOADING_STOPS.length - 1;
  if (rho <= 0) return colours[0];
  if (rho >= LOADING_STOPS[last]) return colours[last];
  const after = LOADING_STOPS.findIndex((stop) => stop > rho);
  const low = LOADING_STOPS[after - 1];
  const share = (rho - low) / (LOADING_STOPS[after] - low);
  const [from, to] = [channels(colours[after - 1]), channels(colours[after])];
  const mixed = from.map((value, i) => Math.round(value + share * (to[i] - value)));
  return `rgb(${mixed.join(" ")})`;
}

/** The width of a line on the grid, in its drawing's units at full size. */
function loadingWidth(rho) {
  return 4 + 4.5 * Math.min(Math.max(rho, 0), 1.25);
}

/** Stops of a gradient from rho `low` to `high`, [share of the way, colour]. */
function loadingGradient(low, high) {
  const colours = LOADING_COLOURS[darkScheme.matches ? "dark" : "light"];
  const all = LOADING_STOPS.map((rho, index) => [rho, colours[index]]);
  const inside = all.filter(([rho]) => rho > low && rho < high);
  const ends = [low, high].map((rho) => [rho, loadingColour(rho)]);
  return [ends[0], ...inside, ends[1]].map(([rho, colour]) => [(rho - low) / (high - low), colour]);
}

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/** A new element; texts among the children stay texts, whatever they contain. */
function element(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/** The same in a drawing. */
function shape(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function setAll(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

function find(id) {
  return document.getElementById(id);
}
