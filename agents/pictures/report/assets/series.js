// Episodes, as page.py packed them: series of numbers over time, switches, decisions, events.
// Frame k shows the grid after k steps.

/** What encoding.py packed: JSON, deflated, in base64. */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

/** A series of numbers over time, [rows, columns], from the differences of its columns. */
class Series {
  constructor(columns, resolution) {
    this.columns = columns.length;
    this.rows = columns.length ? columns[0].length : 0;
    this.values = new Float32Array(this.rows * this.columns);
    columns.forEach((differences, column) => {
      let total = 0;
      differences.forEach((difference, row) => {
        total += difference;
        this.values[row * this.columns + column] = total * resolution;
      });
    });
  }

  at(row, column) {
    return this.values[row * this.columns + column];
  }

  /** Sum over some columns of a row. */
  sum(row, columns) {
    let total = 0;
    for (const column of columns) total += this.at(row, column);
    return total;
  }
}

const LOSS_TELLS = 12; // steps for which the worst loss at a decision is shown

/** The last place of an ascending list whose entry is at most `value`; -1 if there is none. */
function lastUpTo(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** One episode of the report. */
class Episode {
  constructor(report, record) {
    const { grid, resolution, actions } = report;
    this.record = record;
    this.grid = grid;
    this.actions = actions;
    this.rho = new Series(record.rho, resolution.rho);
    this.flow = new Series(record.flow, resolution.power);
    this.generation = new Series(record.generation, resolution.power);
    this.load = new Series(record.load, resolution.power);
    this.frames = this.rho.rows;
    this.last = this.frames - 1;
    this.renewables = grid.generators.flatMap((one, index) => (one.renewable ? [index] : []));
    this.allGenerators = grid.generators.map((_, index) => index);
    this.allLoads = grid.loads.map((_, index) => index);
    this.start = Date.parse(`${record.start}Z`);
    this.blackout = !record.completed && record.end.startsWith("blackout");
    this.readCascade();
    this.findHighest();
    this.readTopologies();
    this.decisionFrames = record.decisions.frames;
    this.attacks = record.attacks.map(([line, from, frames, steps]) => ({ line, from, until: from + frames, steps }));
    this.readLosses(resolution);
    this.readEvents();
  }

  /** Which lines tripped before a blackout, round by round: "... after line 4-5 (line 17) tripped". */
  readCascade() {
    const [, cause, tripped] = this.record.end.match(/^(.*?)(?: after (line .*))?$/s);
    this.cause = cause;
    this.cascade = (tripped ?? "")
      .split(", then ")
      .map((round) => [...round.matchAll(/\(line (\d+)\)/g)].map((found) => Number(found[1])))
      .filter((round) => round.length);
  }

  /** The worst loss of a line at each decision, see `loss`. */
  readLosses(resolution) {
    const { lossLines, lossRho } = this.record.decisions;
    this.hasLosses = lossLines !== undefined;
    if (!this.hasLosses) return;
    this.lossLines = new Series(lossLines, 1);
    this.lossRho = new Series(lossRho, resolution.rho);
  }

  /**
   * The worst loss in the step after a decision, had nothing been done: the line `lost` (-1: none),
   * the line `loaded` most then (-1: a blackout) and its loading.
   */
  loss(number) {
    return { lost: this.lossLines.at(number, 0), loaded: this.lossLines.at(number, 1), rho: this.lossRho.at(number, 0) };
  }

  /** The same with the action that was chosen; null where nothing was done. */
  lossAfter(number) {
    const found = this.record.decisions.lossAfter[number];
    return found ? { lost: found[0], loaded: found[1], rho: found[2] } : null;
  }

  /** Number of the decision whose worst loss still tells of this frame, -1 for none. */
  lossUpTo(frame) {
    const number = this.hasLosses ? this.decisionUpTo(frame) : -1;
    return number >= 0 && frame - this.decisionFrames[number] <= LOSS_TELLS ? number : -1;
  }

  /** Steps that an attack holds a line out from this frame on, at least; 0 for none. */
  heldFor(frame, line) {
    const attack = this.attacks.find((one) => one.line === line && one.from <= frame && frame < one.until);
    return attack ? attack.steps - (frame - attack.from) : 0;
  }

  /** Lines that an attack holds out at this frame. */
  held(frame) {
    return this.attacks.filter((one) => one.from <= frame && frame < one.until).map(({ line }) => line);
  }

  findHighest() {
    this.highest = new Float32Array(this.frames);
    this.highestLine = new Int32Array(this.frames);
    for (let frame = 0; frame < this.frames; frame += 1) {
      for (let line = 0; line < this.grid.lines.length; line += 1) {
        const rho = this.rho.at(frame, line);
        if (rho > this.highest[frame]) {
          this.highest[frame] = rho;
          this.highestLine[frame] = line;
        }
      }
    }
  }

  readTopologies() {
    this.topologyFrames = [0];
    this.topologies = [Int8Array.from(this.record.busbars)];
    for (const [frame, ...pairs] of this.record.switches) {
      const busbars = this.topologies.at(-1).slice();
      for (let i = 0; i < pairs.length; i += 2) busbars[pairs[i]] = pairs[i + 1];
      this.topologyFrames.push(frame);
      this.topologies.push(busbars);
    }
  }

  /** Busbar of each element end: 1, 2, ..., or less than 1 where it is at none. */
  busbars(frame) {
    return this.topologies[lastUpTo(this.topologyFrames, frame)];
  }

  isOpen(frame, line) {
    return this.busbars(frame)[this.grid.lines[line].fromEnd] < 1;
  }

  isDead(frame) {
    return this.blackout && frame === this.last;
  }

  /** Steps in a row, up to this frame, in which a line was above its limit. */
  overloadedFor(frame, line) {
    let steps = 0;
    while (frame - steps >= 0 && this.rho.at(frame - steps, line) > 1) steps += 1;
    return steps;
  }

  /** Lines that opened or closed by themselves, and how it ended; decisions are told apart. */
  readEvents() {
    this.events = [];
    for (let i = 1; i < this.topologies.length; i += 1) {
      const frame = this.topologyFrames[i];
      if (this.isDead(frame)) continue;
      const number = this.decisionAt(frame - 1);
      const acted = number < 0 ? [] : this.action(number).lines;
      const moved = number < 0 ? [] : this.action(number).substations;
      this.grid.lines.forEach((line, index) => {
        const before = this.topologies[i - 1][line.fromEnd] > 0;
        const after = this.topologies[i][line.fromEnd] > 0;
        if (before === after || acted.includes(index)) return;
        if (before && this.attacks.some((one) => one.line === index && one.from === frame)) return;
        if (after && (moved.includes(line.from) || moved.includes(line.to))) return;
        this.events.push({ frame, kind: after ? "closed" : "tripped", line: index });
      });
    }
    for (const { line, from, until, steps } of this.attacks) {
      this.events.push({ frame: from, kind: "attacked", line, steps });
      if (until <= this.last && !this.isDead(until)) this.events.push({ frame: until, kind: "released", line });
    }
    this.events.push({ frame: this.last, kind: this.blackout ? "blackout" : "end" });
  }

  /** What a blackout followed, in an operator's words; "" for other ends. */
  beforeBlackout() {
    if (!this.blackout || !this.last) return "";
    const frame = this.last - 1;
    const over = this.grid.lines
      .map((_, line) => ({ line, rho: this.rho.at(frame, line) }))
      .filter(({ rho }) => rho > 1)
      .sort((a, b) => b.rho - a.rho)
      .map(({ line, rho }) => {
        const steps = say.steps(this.overloadedFor(frame, line));
        return `${say.line(this.grid, line)} at ${say.percent(rho)}, above its limit for ${steps}`;
      });
    const rounds = this.cascade.map((round) => say.lines(this.grid, round));
    const number = this.decisionAt(frame);
    const act = number >= 0 && !this.isIdle(number) && !this.refusal(number);
    const words = [
      over.length ? `Just before: ${over.join("; ")}.` : "No line was above its limit just before.",
      act ? `The last action: ${this.action(number).short}.` : "",
      rounds.length ? `Tripped: ${rounds.join(", then ")}.` : "",
    ];
    return words.filter(Boolean).join(" ");
  }

  /** Number of the decision taken at this frame, -1 for none. */
  decisionAt(frame) {
    const number = lastUpTo(this.decisionFrames, frame);
    return this.decisionFrames[number] === frame ? number : -1;
  }

  /** Number of the last decision taken at this frame or before, -1 for none. */
  decisionUpTo(frame) {
    return lastUpTo(this.decisionFrames, frame);
  }

  action(number) {
    return this.actions[this.record.decisions.actions[number]];
  }

  isIdle(number) {
    return this.record.decisions.actions[number] === 0;
  }

  /** Why the grid refused a decision, "" if it did not. */
  refusal(number) {
    return this.record.decisions.refused[number] ?? "";
  }

  search(number) {
    return this.record.decisions.searches[number] ?? null;
  }

  date(frame) {
    return new Date(this.start + frame * this.record.minutes * 60000);
  }
}

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Words and numbers for people. The clock of a scenario has no time zone: it is read as UTC. */
const say = {
  // just below or above the limit is not "100 %"
  percent: (share) => `${(100 * share).toFixed(share !== 1 && Math.abs(share - 1) < 0.005 ? 1 : 0)} %`,
  integer: (value) => Math.round(value).toLocaleString("en"),
  megawatts: (value) => `${Math.round(value).toLocaleString("en")} MW`,
  day: (date) => `${DAYS[date.getUTCDay()]} ${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`,
  time: (date) => date.toISOString().slice(11, 16),
  moment: (date) => `${say.day(date)} ${date.getUTCFullYear()}, ${say.time(date)}`,
  steps: (count) => `${say.integer(count)} ${count === 1 ? "step" : "steps"}`,
  more: (count) => `${say.integer(count)} more ${count === 1 ? "step" : "steps"}`,
  span: (minutes) => {
    const days = Math.floor(minutes / 1440);
    const hours = Math.floor((minutes % 1440) / 60);
    const rest = minutes % 60;
    if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
    if (hours) return rest ? `${hours} h ${rest} min` : `${hours} h`;
    return `${rest} min`;
  },
  line: (grid, index) => `line ${grid.lines[index].from}\u2013${grid.lines[index].to}`,
  lines: (grid, indices) => {
    const names = indices.map((index) => say.line(grid, index).replace("line ", ""));
    if (names.length === 1) return `line ${names[0]}`;
    return `lines ${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  },
  ordinal: (number) => `${number}${["th", "st", "nd", "rd"][number % 100 > 3 && number % 100 < 21 ? 0 : number % 10] ?? "th"}`,
  number: (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 1000 ? say.integer(value) : value.toFixed(size >= 100 ? 1 : size >= 1 ? 2 : 3);
  },
};
