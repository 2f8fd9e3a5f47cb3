// Curves over time: the highest loading (and that of one line), total load, wind and sun.

const SIDE = 9; // pixels left and right of a plot: half a slider's thumb, so that both line up
const STRIP = 16; // pixels below the loadings, for decisions and events
const AXIS = 18; // pixels below that, for dates
const TOP = 8;
const GRAB = 7; // pixels from a mark within which it is meant

let gradients = 0;

class Chart {
  /** @param pick called with the frame that a person clicks on. */
  constructor(svg, height, pick) {
    this.svg = svg;
    this.height = height;
    svg.style.height = `${height}px`;
    svg.addEventListener("click", (event) => {
      if (!this.episode) return;
      const { left } = svg.getBoundingClientRect();
      pick(this.frameAt(event.clientX - left));
    });
    new ResizeObserver(() => this.redraw()).observe(svg);
  }

  get width() {
    return Math.max(this.svg.clientWidth, 120);
  }

  x(frame) {
    const span = Math.max(this.to - this.from, 1);
    return SIDE + ((frame - this.from) / span) * (this.width - 2 * SIDE);
  }

  frameAt(x) {
    const share = (x - SIDE) / (this.width - 2 * SIDE);
    const frame = Math.round(this.from + share * (this.to - this.from));
    const meant = Math.min(Math.max(frame, Math.max(this.from, 0)), Math.min(this.to, this.episode.last));
    const near = (this.marks ?? []).reduce((best, mark) => {
      const distance = Math.abs(this.x(mark.frame) - x);
      return distance < (best?.distance ?? GRAB) ? { frame: mark.frame, distance } : best;
    }, null);
    return near ? near.frame : meant;
  }

  /** Draw frames `from` to `to`, which may reach beyond the episode. */
  show(episode, from, to, options = {}) {
    Object.assign(this, { episode, from, to, marks: options.marks ?? [], options });
    this.frame = Math.min(this.frame ?? 0, episode.last); // it may be of a longer episode
    this.redraw();
  }

  redraw() {
    if (!this.episode) return;
    setAll(this.svg, { viewBox: `0 0 ${this.width} ${this.height}` });
    this.svg.replaceChildren();
    this.draw();
    this.playhead = this.svg.appendChild(shape("path", { class: "playhead" }));
    this.dot = this.svg.appendChild(shape("circle", { class: "playhead-dot", r: 4 }));
    this.point(this.frame);
  }

  /** A path through the highest values of each pixel's frames. */
  curve(value, y) {
    const first = Math.max(this.from, 0);
    const last = Math.min(this.to, this.episode.last - (this.episode.blackout ? 1 : 0));
    const points = [];
    let [pixel, highest] = [null, 0];
    for (let frame = first; frame <= last; frame += 1) {
      const here = this.to - this.from > this.width ? Math.round(this.x(frame)) : this.x(frame);
      if (here !== pixel && pixel !== null) points.push(`${pixel.toFixed(1)} ${y(highest).toFixed(1)}`);
      highest = here === pixel ? Math.max(highest, value(frame)) : value(frame);
      pixel = here;
    }
    if (pixel !== null) points.push(`${pixel.toFixed(1)} ${y(highest).toFixed(1)}`);
    return { d: points.length ? `M${points.join("L")}` : "", first, last };
  }

  area({ d, first, last }, bottom) {
    return d ? `${d}L${this.x(last).toFixed(1)} ${bottom}L${this.x(first).toFixed(1)} ${bottom}Z` : "";
  }

  gradient(low, high, bottom, top) {
    const id = `loading-${(gradients += 1)}`;
    const stops = loadingGradient(low, high).map(([offset, colour]) =>
      shape("stop", { offset, "stop-color": colour }),
    );
    const place = { id, gradientUnits: "userSpaceOnUse", x1: 0, x2: 0, y1: bottom, y2: top };
    this.svg.append(shape("defs", {}, shape("linearGradient", place, ...stops)));
    return `url(#${id})`;
  }

  /** Quarters of days, days, weeks: as many as there is room for. */
  dates(y) {
    const perDay = 1440 / this.episode.record.minutes;
    const days = (this.to - this.from) / perDay;
    const room = (interval) => (days / interval) * (interval < 1 ? 62 : 78) < this.width;
    const interval = [0.25, 1, 2, 7, 14, 28].find((one) => room(one) || one === 28);
    const every = perDay * interval;
    const midnight = new Date(this.episode.start).setUTCHours(0, 0, 0, 0);
    const origin = -(this.episode.start - midnight) / (60000 * this.episode.record.minutes);
    for (let frame = origin; frame <= this.to; frame += every) {
      if (frame < this.from) continue;
      const date = this.episode.date(frame);
      const text = interval < 1 && date.getUTCHours() ? say.time(date) : say.day(date);
      const x = this.x(frame);
      this.svg.append(shape("path", { class: "tick", d: `M${x} ${TOP}V${y - 12}` }));
      if (x < 4 || x > this.width - 44) continue;
      this.svg.append(shape("text", { class: "axis", x: x + 3, y }, text));
    }
  }

  level(y, text, kind = "level") {
    this.svg.append(
      shape("path", { class: kind, d: `M${SIDE} ${y}H${this.width - SIDE}` }),
      shape("text", { class: "axis level-text", x: SIDE, y: y < TOP + 12 ? y + 12 : y - 4 }, text),
    );
  }

  mark(frame, dotY, bottom = AXIS) {
    this.frame = frame;
    const x = this.x(frame);
    const inside = frame >= this.from && frame <= this.to;
    this.playhead.setAttribute("d", inside ? `M${x} ${TOP - 4}V${this.height - bottom}` : "");
    setAll(this.dot, { cx: x, cy: dotY ?? 0, visibility: inside && dotY !== null ? "visible" : "hidden" });
  }
}

/** The highest loading, decisions and events below it. */
class LoadingChart extends Chart {
  /** Loadings from the bottom to the top: the same for the whole episode. */
  range() {
    const { highest, blackout, last } = this.episode;
    const shown = blackout && last ? highest.subarray(0, last) : highest;
    let [low, high] = [0.5, 1.15];
    for (const rho of shown) [low, high] = [Math.min(low, rho), Math.max(high, rho)];
    if (this.options.line !== null && this.options.line !== undefined) low = 0;
    return { low: Math.max(Math.floor(low * 10) / 10 - 0.05, -0.02), high: Math.min(high + 0.04, 2.2) };
  }

  draw() {
    const bottom = this.height - AXIS - STRIP;
    const { low, high } = this.range();
    this.y = (rho) => bottom - ((rho - low) / (high - low)) * (bottom - TOP);
    this.dates(this.height - 4);
    const colour = this.gradient(low, high, bottom, TOP);
    this.level(this.y(0.5), "50 %");
    if (this.options.gate && this.options.gate < 1) this.svg.append(
      shape("path", { class: "level gate", d: `M${SIDE} ${this.y(this.options.gate)}H${this.width - SIDE}` }),
    );
    const highest = this.curve((frame) => this.episode.highest[frame], this.y);
    this.svg.append(shape("path", { class: "curve", d: highest.d, stroke: colour }));
    const line = this.options.line ?? null;
    if (line !== null) {
      const one = this.curve((frame) => this.episode.rho.at(frame, line), this.y);
      this.svg.append(shape("path", { class: "curve one", d: one.d }));
    }
    this.level(this.y(1), "100 %", "level limit");
    this.drawMarks(bottom + STRIP / 2 + 1);
  }

  /** One mark a place: where several fall together, the one that matters most. */
  drawMarks(y) {
    const rank = { idle: 0, act: 1, closed: 2, released: 2, end: 2, refused: 3, attacked: 4, tripped: 4, blackout: 5 };
    const places = new Map();
    for (const mark of this.marks) {
      if (mark.frame < this.from || mark.frame > this.to) continue;
      const place = Math.round(this.x(mark.frame) / 3);
      const there = places.get(place);
      if (!there || rank[mark.kind] > rank[there.kind]) places.set(place, mark);
    }
    for (const mark of places.values()) {
      const x = this.x(mark.frame).toFixed(1);
      const round = ["idle", "act", "end"].includes(mark.kind);
      const forms = {
        refused: `M${x - 3.2} ${y - 3.2}l6.4 6.4M${x - 3.2} ${y + 3.2}l6.4-6.4`,
        tripped: `M${x} ${y - 4.5}l4.5 8h-9z`,
        closed: `M${x} ${y + 4.5}l4.5-8h-9z`,
        attacked: `M${x} ${y - 5}l4.5 5l-4.5 5l-4.5-5z`,
        released: `M${x} ${y - 4}l3.5 4l-3.5 4l-3.5-4z`,
        blackout: `M${x - 4} ${y - 4}h8v8h-8z`,
      };
      this.svg.append(
        round
          ? shape("circle", { class: `mark ${mark.kind}`, "data-frame": mark.frame, cx: x, cy: y, r: mark.kind === "idle" ? 2 : 3.5 })
          : shape("path", { class: `mark ${mark.kind}`, "data-frame": mark.frame, d: forms[mark.kind] }),
      );
    }
  }

  point(frame) {
    this.mark(frame, this.episode.isDead(frame) ? null : this.y(this.episode.highest[frame]));
  }
}

/** The loading after the worst loss of a line, where the agent was asked. */
class LossChart extends Chart {
  draw() {
    const { episode } = this;
    const bottom = this.height - 2;
    const gate = this.options.gate ?? 0;
    const [low, cap] = [0.5, 2.2];
    let high = Math.max(1.15, gate + 0.05);
    for (const rho of episode.lossRho.values) high = Math.max(high, rho);
    high = Math.min(high + 0.04, cap);
    this.y = (rho) => bottom - ((Math.min(Math.max(rho, low), high) - low) / (high - low)) * (bottom - TOP);
    const { d, blackouts } = this.losses();
    this.svg.append(
      shape("path", { class: "curve loss-curve", d, stroke: this.gradient(low, high, bottom, TOP) }),
      shape("path", { class: "loss-blackout", d: blackouts }),
    );
    if (gate && gate <= high) this.level(this.y(gate), `asked from ${say.percent(gate)} on`, "level gate");
    this.level(this.y(1), "100 %", "level limit");
  }

  /** A curve through the worst of each pixel, broken where nobody was asked; marks where it is a blackout. */
  losses() {
    const { episode } = this;
    let [d, blackouts] = ["", ""];
    let [pixel, highest, last, dark] = [null, 0, -Infinity, null];
    const first = lastUpTo(episode.decisionFrames, this.from - 1) + 1;
    const flush = () => {
      d += `${pixel.toFixed(1)} ${this.y(highest).toFixed(1)}`;
    };
    for (let number = first; episode.decisionFrames[number] <= this.to; number += 1) {
      const frame = episode.decisionFrames[number];
      const { loaded, rho } = episode.loss(number);
      const here = Math.round(this.x(frame));
      if (loaded < 0) {
        if (here !== dark) blackouts += `M${here - 1.5} ${TOP - 4}h3v8h-3z`;
        dark = here;
        continue;
      }
      if (here !== pixel) {
        if (pixel !== null) flush();
        d += pixel === null || frame - last > LOSS_TELLS ? "M" : "L";
        highest = 0;
      }
      [pixel, last] = [here, frame];
      highest = Math.max(highest, rho);
    }
    if (pixel !== null) flush();
    // a point alone is drawn, too: as a line of no length
    return { d: d.replace(/M([^ML]+)(?=M|$)/g, "M$1h0.01"), blackouts };
  }

  point(frame) {
    const number = this.episode.lossUpTo(frame);
    const loss = number < 0 ? null : this.episode.loss(number);
    this.mark(frame, loss && loss.loaded >= 0 ? this.y(loss.rho) : null, 2);
  }
}

/** Total load, and what wind and sun give. */
class PowerChart extends Chart {
  draw() {
    const { episode } = this;
    const bottom = this.height - AXIS;
    this.load = (frame) => episode.load.sum(frame, episode.allLoads);
    const sun = (frame) => episode.generation.sum(frame, episode.renewables);
    const top = this.options.top * 1.12;
    this.y = (power) => bottom - (power / top) * (bottom - TOP);
    this.dates(this.height - 4);
    const green = this.curve(sun, this.y);
    const load = this.curve(this.load, this.y);
    this.svg.append(
      shape("path", { class: "renewable", d: this.area(green, bottom) }),
      shape("path", { class: "curve load-curve", d: load.d }),
    );
    this.level(this.y(this.options.top), `load, at most ${say.megawatts(this.options.top)}`);
    if (green.last > green.first && episode.renewables.length) {
      this.svg.append(shape("text", { class: "axis level-text renewable-text", x: SIDE, y: bottom - 6 }, "wind and solar"));
    }
  }

  point(frame) {
    this.mark(frame, this.episode.isDead(frame) ? null : this.y(this.load(frame)));
  }
}
