// The page: what is selected, and who is told.

const ICONS = {
  play: "M5 3.5v13l11-6.5z",
  pause: "M5 3.5h3.6v13H5zM11.4 3.5H15v13h-3.6z",
  nextStep: "M7 4l6 6-6 6",
  previousStep: "M13 4l-6 6 6 6",
  nextDecision: "M4 4l6 6-6 6M15.5 4v12",
  previousDecision: "M16 4l-6 6 6 6M4.5 4v12",
};

const HOUR = 60; // minutes
const MOST_IDLE_SHOWN = 300; // decisions, above which those that did nothing are left out at first

class Report {
  constructor(data) {
    this.data = data;
    this.episodes = data.episodes.map(() => null);
    this.playing = false;
    this.line = null;
    this.pointed = null;
    this.frame = 0;
    this.slider = find("slider");
    this.gridView = new GridView(find("grid"), data.grid, {
      onPoint: (line) => this.pointAtLine(line),
      onPick: (line) => this.followLine(line),
    });
    const pick = (frame) => this.seek(frame);
    this.overview = new LoadingChart(find("overview"), 132, pick);
    this.day = new LoadingChart(find("day"), 128, pick);
    this.totals = new PowerChart(find("totals"), 74, pick);
    this.overviewLosses = new LossChart(find("overview-losses"), 72, pick);
    this.dayLosses = new LossChart(find("day-losses"), 72, pick);
    this.card = new DecisionCard(find("decision"), { onPoint: (action) => this.pointAtAction(action) });
    this.list = new DecisionList(find("list"), { onPick: pick });
    this.table = new LinesTable(find("lines"), {
      onPoint: (line) => this.pointAtLine(line),
      onPick: (line) => this.followLine(line),
    });
    this.heading();
    this.legend();
    this.wire();
    this.readAddress();
  }

  // ------------------------------------------------------------------------------ once

  heading() {
    const { agent, grid, facts } = this.data;
    find("grid-name").textContent = grid.name;
    find("agent-name").textContent = agent;
    find("facts").replaceChildren(
      ...facts.map(([label, text]) => element("div", {}, element("dt", {}, label), element("dd", {}, text))),
    );
    find("scenarios").replaceChildren(
      ...this.data.episodes.map((record, index) => {
        const share = record.limit ? record.steps / record.limit : 1;
        return element(
          "label",
          { class: `scenario ${record.completed ? "completed" : "lost"}` },
          element("input", { type: "radio", name: "scenario", value: index, onchange: () => this.open(index) }),
          element("span", { class: "scenario-name" }, `Scenario ${index + 1}`),
          element("span", { class: "scenario-source" }, record.scenario || `seed ${record.seed}`),
          element("span", { class: "survival", "aria-hidden": "true" }, element("i", { style: `width:${(100 * share).toFixed(2)}%` })),
          element(
            "span",
            { class: "scenario-text" },
            `${say.integer(record.steps)} of ${say.steps(record.limit)}`,
            element("b", {}, record.completed ? "survived" : `${(100 * share).toFixed(1)} %`),
          ),
        );
      }),
    );
  }

  legend() {
    const stops = loadingGradient(0, 1.25).map(([share, colour]) => `${colour} ${(100 * share).toFixed(1)}%`);
    const ticks = [0, 0.5, 0.8, 1, 1.25].map((rho) =>
      element("span", { style: `left:${(rho / 1.25) * 100}%` }, String(Math.round(rho * 100))),
    );
    const sample = (markup, text) => {
      const drawing = shape("svg", { viewBox: "0 0 30 14", "aria-hidden": "true" }, ...markup);
      return element("span", { class: "sample" }, drawing, text);
    };
    find("legend").replaceChildren(
      element(
        "div",
        { class: "scale", role: "img", "aria-label": "Colours of lines: current over thermal limit, from 0 to 125 percent" },
        element("b", {}, "Loading, % of the thermal limit"),
        element("i", { style: `background:linear-gradient(90deg,${stops.join(",")})` }),
        ...ticks,
      ),
      sample([shape("path", { class: "line open", d: "M2 7H28" })], "open line"),
      ...(this.data.episodes.some((one) => one.attacks.length)
        ? [sample([shape("path", { class: "line open attacked", d: "M2 7H28" })], "held out by an attack")]
        : []),
      sample(
        [
          shape("path", { class: "coupler", d: "M9 7H21" }),
          shape("circle", { class: "busbar", cx: 9, cy: 7, r: 5.5 }),
          shape("circle", { class: "busbar second", cx: 21, cy: 7, r: 4.5 }),
        ],
        "split: busbar 1, busbar 2",
      ),
      sample([shape("circle", { class: "sample-generator", cx: 15, cy: 7, r: 5.5 })], "generator, MW"),
      sample([shape("path", { class: "sample-load", d: "M9.5 3h11L15 12z" })], "load, MW"),
    );
  }

  wire() {
    const icon = (id, name) => find(id).replaceChildren(shape("svg", { viewBox: "0 0 20 20", class: name === "play" || name === "pause" ? "solid" : "", "aria-hidden": "true" }, shape("path", { d: ICONS[name] })));
    this.icon = icon;
    const buttons = [
      ["previous-decision", "previousDecision", () => this.jump(-1)],
      ["previous-step", "previousStep", (event) => this.move(event.shiftKey ? -this.hour : -1)],
      ["play", "play", () => this.toggle()],
      ["next-step", "nextStep", (event) => this.move(event.shiftKey ? this.hour : 1)],
      ["next-decision", "nextDecision", () => this.jump(1)],
    ];
    for (const [id, name, act] of buttons) {
      icon(id, name);
      find(id).addEventListener("click", act);
    }
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    find("show-idle").addEventListener("change", () => this.relist());
    find("lines-card").addEventListener("toggle", () => this.showLines());
    document.addEventListener("keydown", (event) => this.key(event));
    window.addEventListener("hashchange", () => this.readAddress());
    darkScheme.addEventListener("change", () => this.recolour());
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { tagName, type } = event.target;
    const slider = event.target === this.slider;
    if (tagName === "SELECT" || (tagName === "INPUT" && type === "radio")) return;
    const pressable = tagName === "BUTTON" || tagName === "SUMMARY" || type === "checkbox";
    const step = event.shiftKey ? this.hour : 1;
    const acts = {
      ArrowLeft: () => this.move(-step),
      ArrowRight: () => this.move(step),
      Home: () => this.seek(0),
      End: () => this.seek(this.episode.last),
      n: () => this.jump(1),
      p: () => this.jump(-1),
    };
    if (event.key === " " && !pressable) acts[" "] = () => this.toggle();
    if (slider && event.shiftKey === false && event.key.startsWith("Arrow")) return; // its own
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  // ------------------------------------------------------------------------- selecting

  get hour() {
    return Math.max(Math.round(HOUR / this.episode.record.minutes), 1);
  }

  /** Open a scenario, at its first decision if no frame is asked for. */
  open(index, frame = null) {
    this.pause();
    this.index = index;
    this.episodes[index] ??= new Episode(this.data, this.data.episodes[index]);
    this.episode = this.episodes[index];
    const { record } = this.episode;
    for (const input of find("scenarios").querySelectorAll("input")) input.checked = Number(input.value) === index;
    this.showVerdict();
    const idle = this.episode.decisionFrames.filter((_, number) => this.episode.isIdle(number)).length;
    find("show-idle").checked = idle <= MOST_IDLE_SHOWN;
    find("show-idle").closest("label").hidden = !idle;
    this.slider.max = this.episode.last;
    find("span-text").textContent = `over ${say.span(this.episode.last * record.minutes)}, ${say.steps(record.steps)}`;
    find("now-renewable-box").hidden = !this.episode.renewables.length;
    for (const box of document.querySelectorAll(".losses")) box.toggleAttribute("hidden", !this.episode.hasLosses);
    this.highestLoad = 0;
    for (let f = 0; f < this.episode.frames; f += 1) {
      this.highestLoad = Math.max(this.highestLoad, this.episode.load.sum(f, this.episode.allLoads));
    }
    this.shownDecision = null;
    this.relist();
    this.seek(frame ?? (this.stops[0] < this.episode.last ? this.stops[0] : 0));
  }

  showVerdict() {
    const { record, blackout } = this.episode;
    const survived = `${say.integer(record.steps)} of ${say.steps(record.limit)}`;
    const verdict = record.completed
      ? `Survived all ${say.steps(record.steps)}`
      : `${blackout ? "Blackout" : "Ended"} after ${survived}`;
    const cause = record.completed ? "" : `${this.episode.beforeBlackout()} ${capital(this.episode.cause)}.`;
    find("verdict").replaceChildren(
      element("strong", { class: record.completed ? "good" : "bad" }, verdict),
      element("span", { class: "muted small" }, cause.trim()),
    );
  }

  /** List anew: other entries are shown. */
  relist() {
    this.entries = DecisionList.entries(this.episode, find("show-idle").checked);
    this.stops = [...new Set(this.entries.map((entry) => entry.frame))];
    this.list.show(this.episode, this.entries);
    this.list.select(this.frame);
    this.drawOverview();
  }

  drawOverview() {
    const options = { marks: this.entries, gate: this.data.gate, line: this.line };
    this.overview.show(this.episode, 0, this.episode.last, options);
    if (this.episode.hasLosses) this.overviewLosses.show(this.episode, 0, this.episode.last, { gate: this.data.lossGate });
  }

  /** Show a frame because a person asked for it. */
  seek(frame) {
    this.show(Math.min(Math.max(Math.round(frame), 0), this.episode.last));
    this.writeAddress();
  }

  move(steps) {
    this.pause();
    this.seek(this.frame + steps);
  }

  /** Go to the next decision or event, or (-1) to the one before. */
  jump(direction) {
    this.pause();
    const stops = this.stops;
    const target = direction > 0 ? stops.find((frame) => frame > this.frame) : stops.findLast((frame) => frame < this.frame);
    if (target === undefined) return;
    this.seek(target);
    const number = this.episode.decisionAt(target);
    const what = number < 0 ? "" : `, ${this.episode.action(number).text}`;
    find("announcement").textContent = `Step ${target}${what}`;
  }

  // --------------------------------------------------------------------------- showing

  show(frame) {
    const { episode } = this;
    this.frame = frame;
    this.gridView.show(episode, frame);
    this.showMoment();
    this.showDay();
    this.overview.point(frame);
    if (episode.hasLosses) this.overviewLosses.point(frame);
    const number = episode.decisionUpTo(frame);
    if (number !== this.shownDecision) {
      this.shownDecision = number;
      this.card.show(episode, number);
    }
    this.card.age(frame);
    this.pointAtAction(null);
    this.list.select(frame);
    this.showLines();
    this.showPointed();
  }

  showMoment() {
    const { episode, frame } = this;
    const date = episode.date(frame);
    const dead = episode.isDead(frame);
    find("clock").textContent = say.moment(date);
    find("step-text").textContent = `Step ${say.integer(frame)} of ${say.integer(episode.last)}`;
    const line = episode.highestLine[frame];
    const rho = episode.highest[frame];
    find("now-rho").replaceChildren(
      ...(dead ? ["\u2013"] : [loadingChip(rho), element("span", { class: "muted" }, ` ${say.line(this.data.grid, line)}`)]),
    );
    find("now-load").textContent = say.megawatts(episode.load.sum(frame, episode.allLoads));
    find("now-generation").textContent = say.megawatts(episode.generation.sum(frame, episode.allGenerators));
    find("now-renewable").textContent = say.megawatts(episode.generation.sum(frame, episode.renewables));
    const held = dead ? [] : episode.held(frame);
    find("now-attack-box").hidden = !held.length;
    find("now-attack").textContent = held
      .map((one) => `${say.line(this.data.grid, one)}, ${say.more(episode.heldFor(frame, one))}`)
      .join("; ");
    const asked = episode.lossUpTo(frame);
    find("now-loss-box").hidden = asked < 0;
    if (asked >= 0) find("now-loss").replaceChildren(...lossParts(episode.grid, episode.loss(asked)));
    find("blackout").hidden = !dead;
    find("readouts").hidden = dead;
    if (dead) find("blackout-cause").textContent = episode.beforeBlackout();
    this.slider.value = frame;
    const words = dead ? "blackout" : `highest loading ${say.percent(rho)} on ${say.line(this.data.grid, line)}`;
    this.slider.setAttribute("aria-valuetext", `step ${frame}, ${say.moment(date)}, ${words}`);
    find("grid-summary").textContent = this.summary(words);
  }

  summary(words) {
    const { episode, frame } = this;
    const open = this.data.grid.lines.flatMap((_, i) => (episode.isOpen(frame, i) ? [say.line(this.data.grid, i)] : []));
    const busbars = episode.busbars(frame);
    const used = this.data.grid.substations.map(() => new Set());
    this.data.grid.ends.forEach((at, end) => busbars[end] > 0 && used[at].add(busbars[end]));
    const split = used.flatMap((set, i) => (set.size > 1 ? [i] : []));
    const held = episode.held(frame).map((line) => `${say.line(this.data.grid, line)} for ${say.more(episode.heldFor(frame, line))}`);
    const attacked = held.length ? ` Held out by an attack: ${held.join(", ")}.` : "";
    return `${capital(words)}. Open: ${open.join(", ") || "none"}.${attacked} Split substations: ${split.join(", ") || "none"}.`;
  }

  showDay() {
    const { episode, frame } = this;
    const half = Math.round((12 * HOUR) / episode.record.minutes);
    const options = { marks: this.entries, gate: this.data.gate, line: this.line, top: this.highestLoad };
    find("day-text").textContent = `${say.day(episode.date(frame))}, ${say.time(episode.date(frame))}`;
    this.day.frame = frame;
    this.totals.frame = frame;
    this.day.show(episode, frame - half, frame + half, options);
    this.totals.show(episode, frame - half, frame + half, { top: this.highestLoad });
    if (!episode.hasLosses) return;
    this.dayLosses.frame = frame;
    this.dayLosses.show(episode, frame - half, frame + half, { gate: this.data.lossGate });
  }

  showLines() {
    if (find("lines-card").open) this.table.show(this.episode, this.frame);
  }

  pointAtLine(line) {
    this.pointed = line;
    this.showPointed();
  }

  /** Say what a person points at, or else which line is followed. */
  showPointed() {
    const line = this.pointed ?? this.line;
    const { episode, frame } = this;
    const box = find("pointed");
    if (line === null) {
      box.replaceChildren("Point at a line to read it; click it to follow its loading.");
      box.classList.add("muted");
      return;
    }
    box.classList.remove("muted");
    const name = `${capital(say.line(this.data.grid, line))} (line ${line}, ${this.data.grid.lines[line].name})`;
    const followed = line === this.line ? element("button", { type: "button", class: "link", onclick: () => this.followLine(line) }, "stop following") : null;
    const left = episode.heldFor(frame, line);
    const state = episode.isOpen(frame, line) ? [left ? `: held out by an attack, ${say.more(left)} ` : ": open "] : [": ", loadingChip(episode.rho.at(frame, line)), `, ${flowText(episode, frame, line)} `];
    box.replaceChildren(element("b", {}, name), ...state, ...(followed ? [followed] : []));
  }

  /** Draw the loading of a line beside the highest one; again to stop. */
  followLine(line) {
    this.line = this.line === line ? null : line;
    this.gridView.pick(this.line);
    this.drawOverview();
    this.showDay();
    this.showPointed();
  }

  /** Mark on the grid what an action is about; null for the action just taken. */
  pointAtAction(action) {
    const number = this.episode.decisionAt(this.frame);
    const shown = action ?? (number < 0 ? null : this.episode.action(number));
    this.gridView.mark(shown);
  }

  recolour() {
    this.legend();
    this.shownDecision = null;
    this.relist();
    this.show(this.frame);
  }

  // --------------------------------------------------------------------------- playing

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.frame >= this.episode.last) this.show(0);
    this.playing = true;
    this.icon("play", "pause");
    find("play").setAttribute("aria-label", "Pause");
    let [before, due] = [null, 0];
    const tick = (now) => {
      if (!this.playing) return;
      before ??= now;
      due += ((now - before) / 1000) * Number(find("speed").value) * (5 / this.episode.record.minutes);
      before = now;
      const steps = Math.floor(due);
      due -= steps;
      if (steps) this.advance(steps);
      if (this.playing) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  advance(steps) {
    let frame = Math.min(this.frame + steps, this.episode.last);
    const stop = find("stop-at-decisions").checked ? this.stops.find((one) => one > this.frame) : undefined;
    if (stop !== undefined && stop <= frame) {
      frame = stop;
      this.pause();
    }
    this.show(frame);
    if (frame >= this.episode.last) this.pause();
    if (!this.playing) this.writeAddress();
  }

  pause() {
    this.playing = false;
    this.icon("play", "play");
    find("play").setAttribute("aria-label", "Play");
  }

  // ---------------------------------------------------------------------- the address

  /** A link leads to a scenario and a step: #scenario=2&step=513. */
  readAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const whole = (name) => Math.max(Number.parseInt(asked.get(name), 10) || 0, 0);
    const index = Math.max(Math.min(whole("scenario"), this.data.episodes.length) - 1, 0);
    const frame = asked.has("step") ? whole("step") : null;
    if (this.index !== index) this.open(index, frame);
    else if (frame !== null && this.frame !== frame) this.seek(frame);
  }

  writeAddress() {
    clearTimeout(this.address);
    this.address = setTimeout(() => {
      const hash = `#scenario=${this.index + 1}&step=${this.frame}`;
      if (location.hash !== hash) history.replaceState(null, "", hash);
    }, 200);
  }
}

function showProblem(error) {
  const box = find("problem");
  box.hidden = false;
  box.textContent = `This report cannot be shown: ${error.message ?? error}. A newer browser may help.`;
}

window.addEventListener("error", (event) => showProblem(event.error ?? event.message));
window.addEventListener("unhandledrejection", (event) => showProblem(event.reason));
unpack(find("report-data").textContent).then((data) => {
  window.report = new Report(data);
});
