// The grid: substations where they lie, lines coloured by their loading, generators and loads.

const MARGIN = 82; // around the substations, for what hangs from them, in the drawing's units
const PLAIN_SCALE = 0.65; // pixels a unit of the drawing, from which on symbols have their plain size
const ROOMY = 105; // units from a substation to the next, from which on they need not be smaller
const LEAST_LETTERS = 6; // pixels, below which letters are left out

// drawn in a square of 16 around the origin
const GENERATOR_GLYPHS = {
  solar: "M-2.6 0a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0-5.2 0M0-4.4v-1.8M0 4.4v1.8M-4.4 0h-1.8M4.4 0h1.8M-3.1-3.1l-1.3-1.3M3.1 3.1l1.3 1.3M-3.1 3.1l-1.3 1.3M3.1-3.1l1.3-1.3",
  wind: "M0 0V-6M0 0l5.2 3M0 0l-5.2 3M-.9 0a.9.9 0 1 0 1.8 0a.9.9 0 1 0-1.8 0",
  hydro: "M-5.5-1.8q1.4-2.2 2.75 0t2.75 0t2.75 0t2.75 0M-5.5 2.6q1.4-2.2 2.75 0t2.75 0t2.75 0t2.75 0",
  nuclear: "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0M-6 0a6 2.3 0 1 0 12 0a6 2.3 0 1 0-12 0M-3-5.2a6 2.3 60 1 0 6 10.4a6 2.3 60 1 0-6-10.4M3-5.2a6 2.3 120 1 0-6 10.4a6 2.3 120 1 0 6-10.4",
  thermal: "M0-6q4.6 4.4 4.2 7.6a4.2 4.2 0 0 1-8.4 0q0-2.2 1.9-3.8q.3 1.6 1.3 2q-.5-3 1-5.8",
  "": "M-5 0q2.5-5 5 0t5 0",
};

class GridView {
  /**
   * @param onPoint called with a line's number when a person points at it, null when at none.
   * @param onPick called with a line's number when a person clicks it.
   */
  constructor(svg, grid, { onPoint, onPick }) {
    this.svg = svg;
    this.grid = grid;
    this.onPoint = onPoint;
    this.onPick = onPick;
    this.targets = { lines: [], substations: [] };
    this.picked = null;
    this.measure();
    this.build();
    new ResizeObserver(() => this.resize()).observe(svg);
  }

  // ------------------------------------------------------------------------ what stays

  measure() {
    const points = this.grid.substations;
    const nearest = points.map((one) =>
      points.reduce((least, other) => {
        const distance = Math.hypot(other.x - one.x, other.y - one.y);
        return distance > 1 ? Math.min(least, distance) : least;
      }, 2 * ROOMY),
    );
    nearest.sort((p, q) => p - q);
    const typical = nearest[Math.floor(nearest.length / 4)];
    this.density = Math.min(Math.max(typical / ROOMY, 0.4), 1);
    const twins = new Map(); // lines beside each other bend apart
    this.bends = this.grid.lines.map((line) => {
      const key = [line.from, line.to].sort((a, b) => a - b).join("-");
      const number = twins.get(key) ?? 0;
      twins.set(key, number + 1);
      return { key, number };
    });
    for (const bend of this.bends) bend.count = twins.get(bend.key);
  }

  place() {
    const points = this.grid.substations;
    const margin = Math.max(MARGIN, 54 * this.unit);
    this.centres = points.map(({ x, y }) => [x + margin, y + margin]);
    const width = Math.max(...points.map(({ x }) => x)) + 2 * margin;
    const height = Math.max(...points.map(({ y }) => y)) + 2 * margin;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  }

  /** Pixels a unit of the drawing. */
  pixels() {
    const { width, height } = this.svg.getBoundingClientRect();
    const { width: w, height: h } = this.svg.viewBox.baseVal;
    return Math.min(width / w, height / h) || PLAIN_SCALE;
  }

  /** How much larger symbols are than plain, so that they can be read on a small screen. */
  scale() {
    return Math.min(Math.max(PLAIN_SCALE / this.pixels(), 1), 2);
  }

  resize() {
    if (Math.abs(this.scale() - this.magnified) > 0.04) {
      this.build();
      if (this.episode) this.show(this.episode, this.frame);
    }
  }

  build() {
    this.unit ??= 1;
    this.place();
    this.magnified = this.scale();
    this.unit = this.magnified * this.density;
    this.small = this.magnified > 1.3 || this.density < 0.7;
    this.place();
    this.radius = 15 * this.unit;
    this.svg.classList.toggle("small", this.small);
    this.svg.classList.toggle("numberless", 13 * this.unit * this.pixels() < LEAST_LETTERS);
    this.svg.style.setProperty("--unit", this.unit);
    this.svg.style.setProperty("--letters", Math.max(this.unit, 0.9 * this.magnified));
    for (const layer of this.svg.querySelectorAll("g")) layer.remove();
    const layer = (name) => this.svg.appendChild(shape("g", { class: name }));
    const [halos, lines, arrows, stubs, nodes, labels, handles] = [
      "halos", "lines", "arrows", "stubs", "nodes", "labels", "handles",
    ].map(layer);
    this.lines = this.grid.lines.map((line, index) => {
      const handle = shape("path", { class: "handle", "data-line": index });
      handle.append(shape("title", {}, `${line.name} (line ${index})`));
      handle.addEventListener("pointerenter", () => this.onPoint(index));
      handle.addEventListener("pointerleave", () => this.onPoint(null));
      handle.addEventListener("click", () => this.onPick(index));
      return {
        halo: halos.appendChild(shape("path", { class: "halo" })),
        path: lines.appendChild(shape("path", { class: "line", "data-line": index })),
        arrow: arrows.appendChild(shape("path", { class: "arrow" })),
        label: labels.appendChild(shape("text", { class: "loading", "text-anchor": "middle" })),
        handle: handles.appendChild(handle),
      };
    });
    this.nodes = this.centres.map(([x, y], index) => {
      const group = nodes.appendChild(shape("g", { class: "substation", "data-substation": index }));
      group.append(shape("title", {}, this.grid.substations[index].name));
      return {
        target: halos.appendChild(shape("circle", { class: "target", cx: x, cy: y, r: this.radius * 2.3 })),
        coupler: group.appendChild(shape("path", { class: "coupler" })),
        second: group.appendChild(shape("circle", { class: "busbar second", r: this.radius * 0.82 })),
        first: group.appendChild(shape("circle", { class: "busbar", r: this.radius })),
        number: group.appendChild(shape("text", { class: "number", "text-anchor": "middle" }, String(index))),
      };
    });
    this.buildStubs(stubs, labels);
  }

  /** Give generators and loads the widest gaps between the lines of their substations. */
  buildStubs(layer, labels) {
    const angles = this.centres.map(() => []);
    for (const line of this.grid.lines) {
      const [a, b] = [this.centres[line.from], this.centres[line.to]];
      const angle = Math.atan2(b[1] - a[1], b[0] - a[0]);
      angles[line.from].push(angle);
      angles[line.to].push(angle + Math.PI);
    }
    const make = (one, kind, index) => {
      const angle = widestGap(angles[one.at]);
      angles[one.at].push(angle);
      const group = layer.appendChild(shape("g", { class: `stub ${kind}` }));
      const stub = {
        one,
        index,
        angle,
        wire: group.appendChild(shape("path", { class: "wire" })),
        symbol: group.appendChild(shape("g", { class: "symbol" })),
        label: labels.appendChild(shape("text", { class: "power" })),
      };
      if (kind === "generator") {
        const glyph = GENERATOR_GLYPHS[one.kind] ?? GENERATOR_GLYPHS[""];
        stub.symbol.append(
          shape("title", {}, `${one.name}${one.kind ? `, ${one.kind}` : ""}`),
          shape("circle", { r: 10.5 }),
          shape("path", { class: "glyph", d: glyph }),
        );
      } else {
        stub.symbol.append(shape("title", {}, one.name), shape("path", { d: "M-7.5-5h15L0 8.5z" }));
      }
      return stub;
    };
    this.generators = this.grid.generators.map((one, i) => make(one, "generator", i));
    this.loads = this.grid.loads.map((one, i) => make(one, "load", i));
  }

  // ---------------------------------------------------------------------- what changes

  /** Draw a frame of an episode. */
  show(episode, frame) {
    this.episode = episode;
    this.frame = frame;
    const busbars = episode.busbars(frame);
    const dead = episode.isDead(frame);
    this.svg.classList.toggle("dead", dead);
    this.showNodes(busbars, dead);
    this.grid.lines.forEach((line, index) => this.showLine(line, index, busbars));
    for (const stub of this.generators) {
      this.showStub(stub, busbars, episode.generation.at(frame, stub.index), dead);
    }
    for (const stub of this.loads) {
      this.showStub(stub, busbars, episode.load.at(frame, stub.index), dead);
    }
  }

  /** Mark what an action is about. */
  mark(targets) {
    this.targets = targets ?? { lines: [], substations: [] };
    const { substations, powers = [] } = this.targets;
    this.nodes.forEach((node, index) => {
      node.target.classList.toggle("on", substations.includes(index) || powers.includes(index));
    });
    this.lines.forEach((line, index) => {
      line.halo.classList.toggle("target", this.targets.lines.includes(index));
    });
  }

  /** Mark the line whose loading is followed. */
  pick(line) {
    this.picked = line;
    this.lines.forEach(({ halo }, index) => halo.classList.toggle("picked", index === line));
  }

  showNodes(busbars, dead) {
    this.spots = this.centres.map((centre, index) => {
      const used = new Set();
      this.grid.ends.forEach((at, end) => {
        if (at === index && busbars[end] > 0) used.add(busbars[end]);
      });
      const split = used.size > 1 && !dead;
      const node = this.nodes[index];
      const first = node.first.parentNode;
      first.classList.toggle("split", split);
      first.classList.toggle("on-second", used.size === 1 && used.has(2));
      const [dx, dy] = split ? this.splitDirection(index, busbars) : [0, 0];
      const offset = this.radius * 1.12;
      const spot = (busbar) => {
        const side = busbar > 1 ? 1 : -1;
        return [centre[0] + side * dx * offset, centre[1] + side * dy * offset];
      };
      const [one, two] = [spot(1), spot(2)];
      setAll(node.first, { cx: one[0], cy: one[1] });
      setAll(node.second, { cx: two[0], cy: two[1] });
      setAll(node.number, { x: one[0], y: one[1] });
      node.coupler.setAttribute("d", `M${one}L${two}`);
      return (busbar) => (busbar > 1 ? two : one);
    });
    this.mark(this.targets);
    this.pick(this.picked);
  }

  /** Where busbar 2 lies, seen from busbar 1: towards what hangs on it. */
  splitDirection(index, busbars) {
    let [x, y] = [0, 0];
    const pull = (end, angle, weight) => {
      const side = busbars[end] > 1 ? weight : busbars[end] > 0 ? -weight : 0;
      x += side * Math.cos(angle);
      y += side * Math.sin(angle);
    };
    for (const line of this.grid.lines) {
      const [a, b] = [this.centres[line.from], this.centres[line.to]];
      const angle = Math.atan2(b[1] - a[1], b[0] - a[0]);
      if (line.from === index) pull(line.fromEnd, angle, 1);
      if (line.to === index) pull(line.toEnd, angle + Math.PI, 1);
    }
    for (const { one, angle } of [...this.generators, ...this.loads]) {
      if (one.at === index) pull(one.end, angle, 0.6);
    }
    const size = Math.hypot(x, y);
    return size > 0.05 ? [x / size, y / size] : [1, 0];
  }

  showLine(line, index, busbars) {
    const drawn = this.lines[index];
    const open = busbars[line.fromEnd] < 1 || busbars[line.toEnd] < 1;
    const rho = this.episode.rho.at(this.frame, index);
    const from = this.spots[line.from](busbars[line.fromEnd]);
    const to = this.spots[line.to](busbars[line.toEnd]);
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    const length = Math.hypot(dx, dy) || 1;
    // the same side whichever way the line is written down, so that twins bend apart
    const side = line.from < line.to ? 1 : -1;
    const { number, count } = this.bends[index];
    const bend = (number - (count - 1) / 2) * 34 * this.unit * side;
    const normal = [-dy / length, dx / length];
    const control = [
      (from[0] + to[0]) / 2 + normal[0] * bend,
      (from[1] + to[1]) / 2 + normal[1] * bend,
    ];
    const d = bend ? `M${from}Q${control} ${to}` : `M${from}L${to}`;
    const middle = [
      (from[0] + to[0]) / 2 + (normal[0] * bend) / 2,
      (from[1] + to[1]) / 2 + (normal[1] * bend) / 2,
    ];
    drawn.path.setAttribute("d", d);
    drawn.halo.setAttribute("d", d);
    drawn.handle.setAttribute("d", d);
    const dead = this.episode.isDead(this.frame);
    const round = dead ? this.episode.cascade.findIndex((lines) => lines.includes(index)) : -1;
    const left = dead ? 0 : this.episode.heldFor(this.frame, index);
    drawn.path.classList.toggle("open", open);
    drawn.path.classList.toggle("attacked", open && left > 0);
    drawn.path.classList.toggle("tripped", round >= 0);
    drawn.path.classList.toggle("over", !open && rho > 1);
    drawn.path.style.stroke = open ? "" : loadingColour(rho);
    drawn.path.style.strokeWidth = open ? "" : loadingWidth(rho) * Math.min(this.unit, 1.6);
    const flow = this.episode.flow.at(this.frame, index);
    const angle = (Math.atan2(dy, dx) * 180) / Math.PI + (flow < 0 ? 180 : 0);
    const arrow = open || Math.abs(flow) < 0.05 ? "" : "M-6-6.2L7.5 0L-6 6.2z";
    const size = (0.62 + 0.05 * loadingWidth(rho)) * Math.min(this.unit, 1.6);
    setAll(drawn.arrow, {
      d: arrow,
      transform: `translate(${middle}) rotate(${angle}) scale(${size})`,
    });
    drawn.arrow.style.fill = open ? "" : loadingColour(rho);
    const plain = open ? (left ? `out ${left}` : "open") : this.small && rho < 0.8 ? "" : `${Math.round(100 * rho)}`;
    const text = round >= 0 ? say.ordinal(round + 1) : dead ? "" : plain;
    this.showText(drawn.label, text, middle, normal, Math.sign(bend));
    drawn.label.classList.toggle("high", round >= 0 || left > 0 || (!open && rho >= 0.95));
  }

  /** Write beside a line: on the side that it bends to, or else above it. */
  showText(label, text, middle, normal, bend) {
    label.textContent = text;
    if (!text) return;
    const up = bend || (normal[1] > 0 || (normal[1] === 0 && normal[0] < 0) ? -1 : 1);
    const away = (Math.abs(normal[0]) > 0.6 ? 18 : 15) * this.unit * up;
    setAll(label, { x: middle[0] + normal[0] * away, y: middle[1] + normal[1] * away });
  }

  showStub(stub, busbars, power, dead) {
    const { one, angle, wire, symbol, label } = stub;
    const busbar = busbars[one.end];
    const from = this.spots[one.at](busbar);
    const reach = this.radius + 25 * this.unit;
    const centre = this.centres[one.at];
    const at = [centre[0] + reach * Math.cos(angle), centre[1] + reach * Math.sin(angle)];
    wire.setAttribute("d", `M${from}L${at}`);
    const turn = symbol.parentNode.classList.contains("load") ? (angle * 180) / Math.PI - 90 : 0;
    symbol.setAttribute("transform", `translate(${at}) rotate(${turn}) scale(${this.unit})`);
    label.textContent = this.small || dead ? "" : `${Math.round(power)}`;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    setAll(label, {
      x: at[0] + cos * 16 * this.unit,
      y: at[1] + sin * 19 * this.unit,
      "text-anchor": cos > 0.35 ? "start" : cos < -0.35 ? "end" : "middle",
    });
  }
}

/** The middle of the widest gap between angles. */
function widestGap(angles) {
  if (!angles.length) return Math.PI / 2;
  const turn = 2 * Math.PI;
  const sorted = angles.map((angle) => ((angle % turn) + turn) % turn).sort((a, b) => a - b);
  let [best, width] = [0, -1];
  sorted.forEach((angle, i) => {
    const next = i + 1 < sorted.length ? sorted[i + 1] : sorted[0] + turn;
    if (next - angle > width + 1e-6) [best, width] = [angle + (next - angle) / 2, next - angle];
  });
  return best;
}
