// What was decided: the decision at hand with the search behind it, and the list of all.

const ROWS = 250; // of the list that are there at once
const SHORT_LIST = 8; // entries, up to which the list's card is only as high as they are
const CANDIDATES = 8; // shown before a person asks for more
const LEAST_FULL_BAR = 0.1; // prior, that fills its bar: equal small ones are not to look large

const COLUMNS = [
  ["Action", null],
  ["Visits", "How many simulations went this way"],
  ["Q", "Reward and discounted value that the search expects of it"],
  ["Prior", "Probability that the network gave it before the search"],
];

const EVENT_WORDS = {
  tripped: (grid, event) => `${capital(say.line(grid, event.line))} tripped`,
  closed: (grid, event) => `${capital(say.line(grid, event.line))} was put back`,
  attacked: (grid, event) => `${capital(say.line(grid, event.line))} was attacked`,
  released: (grid, event) => `The attack on ${say.line(grid, event.line)} ended`,
  blackout: () => "Blackout",
  end: () => "End",
};

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A loading with its colour. */
function loadingChip(rho) {
  return element(
    "span",
    { class: "chip" },
    element("i", { style: `background:${loadingColour(rho)}`, "aria-hidden": "true" }),
    say.percent(rho),
  );
}

/** Highest loading before and after a decision. */
function beforeAndAfter(episode, frame) {
  const after = frame + 1;
  return element(
    "span",
    { class: "before-after" },
    loadingChip(episode.highest[frame]),
    element("span", { class: "arrow-text", "aria-label": "then" }, "\u2192"),
    episode.isDead(after) ? element("span", { class: "bad" }, "blackout") : loadingChip(episode.highest[after]),
  );
}

/** The worst loss of a line in words, with the loading after it. */
function lossParts(grid, { lost, loaded, rho }) {
  const after = loaded < 0 ? element("span", { class: "bad" }, "blackout") : loadingChip(rho);
  const where = loaded < 0 ? "" : ` ${say.line(grid, loaded)}`;
  const words = lost >= 0 ? `${where} without ${say.line(grid, lost)}` : loaded < 0 ? " without a loss" : `${where}, no line at risk is closed`;
  return [after, element("span", { class: "muted" }, words)];
}

/** The card of one decision. */
class DecisionCard {
  constructor(box, { onPoint }) {
    this.box = box;
    this.onPoint = onPoint;
  }

  /** Show decision `number`, -1 for none yet. */
  show(episode, number) {
    this.episode = episode;
    this.number = number;
    this.box.replaceChildren(...(number < 0 ? this.none() : this.decision()));
  }

  /** Say how long ago it was. */
  age(frame) {
    const age = this.box.querySelector(".age");
    if (!age || this.number < 0) return;
    const taken = this.episode.decisionFrames[this.number];
    age.textContent =
      frame === taken ? "now" : `${say.span((frame - taken) * this.episode.record.minutes)} ago`;
    age.classList.toggle("now", frame === taken);
  }

  none() {
    const count = this.episode.decisionFrames.length;
    const first = count ? `The first of ${count} comes at step ${say.integer(this.episode.decisionFrames[0])}.` : "";
    return [
      element("h2", { id: "decision-heading" }, "No decision yet"),
      element("p", { class: "muted" }, first),
    ];
  }

  decision() {
    const { episode, number } = this;
    const action = episode.action(number);
    const refusal = episode.refusal(number);
    const search = episode.search(number);
    const frame = episode.decisionFrames[number];
    return [
      element(
        "div",
        { class: "decision-head" },
        element(
          "h2",
          { id: "decision-heading" },
          `Decision ${say.integer(number + 1)} `,
          element("span", { class: "muted" }, `of ${say.integer(episode.decisionFrames.length)}`),
        ),
        element("span", { class: "age" }),
      ),
      element("p", { class: "action", id: "action-text" }, capital(action.text)),
      refusal ? element("p", { class: "refusal" }, `Refused: ${refusal}. Nothing was done.`) : null,
      element(
        "p",
        { class: "outcome muted" },
        `Step ${say.integer(frame)}, ${say.moment(episode.date(frame))}`,
        beforeAndAfter(episode, frame),
      ),
      ...this.losses(),
      ...(search ? this.search(search) : [this.noSearch()]),
    ].filter((part) => part !== null);
  }

  /** What the worst loss of a line would do, as it was and as the action has it. */
  losses() {
    const { episode, number } = this;
    if (!episode.hasLosses) return [];
    const after = episode.lossAfter(number);
    const row = (label, loss) => [element("dt", {}, label), element("dd", {}, ...lossParts(episode.grid, loss))];
    return [
      element(
        "dl",
        { class: "worst-losses" },
        ...row(after ? "Worst loss of a line, doing nothing" : "Worst loss of a line", episode.loss(number)),
        ...(after ? row("With the action", after) : []),
      ),
    ];
  }

  noSearch() {
    const { searched, searches } = this.episode.record.decisions;
    const kept = Object.keys(searches).length;
    if (!searched) return null;
    return element(
      "p",
      { class: "muted small" },
      `The search behind this decision is not in the file, which keeps those of the ${kept} most loaded moments of ${searched}.`,
    );
  }

  search(search) {
    const figures = [
      ["Expected return", say.number(search.value)],
      ["Simulations", say.integer(search.simulations)],
      ["Depth", say.integer(search.depth)],
      ["Actions tried", say.integer(search.tried)],
    ];
    return [
      element(
        "dl",
        { class: "figures" },
        ...figures.map(([label, value]) => element("div", {}, element("dt", {}, label), element("dd", {}, value))),
      ),
      this.candidates(search),
    ];
  }

  candidates(search) {
    const taken = this.episode.record.decisions.actions[this.number];
    const rows = search.candidates.map(([action, visits, q, prior, weight, outcomes = []]) => ({ action, visits, q, prior, weight, outcomes }));
    const most = (name) => Math.max(...rows.map((row) => row[name]), 1e-9);
    const [visits, prior] = [most("visits"), Math.max(most("prior"), LEAST_FULL_BAR)];
    const [low, high] = [Math.min(...rows.map((row) => row.q)), most("q")];
    const head = COLUMNS.map(([text, title]) => element("th", { scope: "col", title }, text));
    const left = search.tried - rows.length;
    const few = rows.length > CANDIDATES + 1;
    const more = few ? element("button", { type: "button", class: "more", "aria-expanded": "false" }, `${rows.length - CANDIDATES} more`) : null;
    const box = element(
      "div",
      { class: few ? "table-box few" : "table-box" },
      element(
        "table",
        { class: "candidates" },
        element("caption", {}, "What the search considered", left > 0 ? element("span", { class: "muted" }, ` (${left} less visited ones are left out)`) : null),
        element("thead", {}, element("tr", {}, ...head)),
        element(
          "tbody",
          {},
          ...rows.map((row) => this.row(row, { taken: row.action === taken, visits, prior, low, high })),
        ),
      ),
      more,
    );
    more?.addEventListener("click", () => {
      box.classList.remove("few");
      more.remove();
    });
    return box;
  }

  /** What chance may make of an action, and what the search would answer. */
  outcome([text, probability, visits, q, answer]) {
    const then = answer === null ? "" : `, then ${this.episode.actions[answer].short}`;
    const times = visits === 1 ? "1 visit" : `${say.integer(visits)} visits`;
    return element("li", {}, `if ${text}`, element("span", { class: "muted" }, ` (${(100 * probability).toPrecision(2)} %, ${times})`), `: Q ${say.number(q)}${then}`);
  }

  row(row, { taken, visits, prior, low, high }) {
    const action = this.episode.actions[row.action];
    const bar = (share) => element("span", { class: "bar", "aria-hidden": "true" }, element("i", { style: `width:${(100 * share).toFixed(1)}%` }));
    const place = high > low ? (row.q - low) / (high - low) : 0.5;
    const dot = element("span", { class: "track", "aria-hidden": "true" }, element("i", { style: `left:${(100 * place).toFixed(1)}%` }));
    const point = () => this.onPoint(action);
    const leave = () => this.onPoint(null);
    return element(
      "tr",
      { class: taken ? "taken" : "", "data-action": row.action, onpointerenter: point, onpointerleave: leave },
      element(
        "th",
        { scope: "row", title: action.text },
        action.short,
        taken ? element("span", { class: "tag" }, "chosen") : null,
        row.outcomes.length ? element("ul", { class: "outcomes" }, ...row.outcomes.map((one) => this.outcome(one))) : null,
      ),
      element("td", { "data-label": "Visits" }, element("span", { class: "figure" }, say.integer(row.visits)), bar(row.visits / visits)),
      element("td", { "data-label": "Q" }, element("span", { class: "figure" }, say.number(row.q)), dot),
      element("td", { "data-label": "Prior" }, element("span", { class: "figure" }, `${(100 * row.prior).toFixed(1)} %`), bar(row.prior / prior)),
    );
  }
}

/** All decisions and events, in order of time. */
class DecisionList {
  constructor(box, { onPick }) {
    this.box = box;
    this.onPick = onPick;
    this.first = 0;
    this.current = -1;
  }

  /** The entries shown: frame, kind ("act", "idle", "refused" or an event's), number of a decision. */
  static entries(episode, withIdle) {
    const decisions = episode.decisionFrames.map((frame, number) => ({
      frame,
      number,
      kind: episode.refusal(number) ? "refused" : episode.isIdle(number) ? "idle" : "act",
    }));
    const shown = decisions.filter((entry) => withIdle || entry.kind !== "idle");
    return [...shown, ...episode.events].sort((a, b) => a.frame - b.frame || (a.number ?? -1) - (b.number ?? -1));
  }

  show(episode, entries) {
    Object.assign(this, { episode, entries, first: 0, current: -1 });
    this.draw();
  }

  draw() {
    const last = Math.min(this.first + ROWS, this.entries.length);
    const turn = (text, first) =>
      element("button", { type: "button", class: "more", onclick: () => this.turn(first) }, text);
    this.box.parentNode.classList.toggle("long", this.entries.length > SHORT_LIST);
    const rows = this.entries.slice(this.first, last).map((entry, i) => this.row(entry, this.first + i));
    this.box.replaceChildren(
      ...(this.first > 0 ? [turn(`Earlier (${this.first})`, this.first - ROWS)] : []),
      element("ol", { class: "rows", role: "list" }, ...rows),
      ...(last < this.entries.length ? [turn(`Later (${this.entries.length - last})`, last)] : []),
    );
  }

  turn(first) {
    this.first = Math.max(first, 0);
    this.draw();
    this.mark();
  }

  row(entry, place) {
    const { episode } = this;
    const date = episode.date(entry.frame);
    const decided = entry.number !== undefined;
    const text = decided ? capital(episode.action(entry.number).short) : EVENT_WORDS[entry.kind](episode.grid, entry);
    const detail = decided
      ? beforeAndAfter(episode, entry.frame)
      : element("span", { class: "muted" }, this.eventDetail(entry));
    return element(
      "li",
      {},
      element(
        "button",
        { type: "button", class: `row ${entry.kind}`, "data-frame": entry.frame, "data-place": place, onclick: () => this.onPick(entry.frame) },
        element("span", { class: "when" }, element("b", {}, say.integer(entry.frame)), element("span", { class: "muted" }, `${say.day(date)}, ${say.time(date)}`)),
        element("span", { class: "what" }, text, entry.kind === "refused" ? element("span", { class: "tag bad" }, "refused") : null),
        element("span", { class: "detail" }, detail),
      ),
    );
  }

  eventDetail(event) {
    const { episode } = this;
    if (event.kind === "blackout") return episode.beforeBlackout();
    if (event.kind === "end") return episode.record.end;
    if (event.kind === "attacked") return `held out for at least ${say.more(event.steps)}`;
    if (event.kind === "released") return episode.isOpen(event.frame, event.line) ? "the line may be put back" : "";
    if (event.kind === "closed") return "by the rules around the agent";
    const before = event.frame - 1;
    const steps = episode.overloadedFor(before, event.line);
    const rho = say.percent(episode.rho.at(before, event.line));
    return steps ? `it was at ${rho}, ${say.steps(steps)} above its limit` : `it was at ${rho}`;
  }

  /** Mark the last entry up to a frame, and bring it into view. */
  select(frame) {
    const frames = this.entries.map((entry) => entry.frame);
    const current = lastUpTo(frames, frame);
    if (current === this.current) return;
    this.current = current;
    if (current >= 0 && (current < this.first || current >= this.first + ROWS)) {
      this.turn(Math.floor(current / ROWS) * ROWS);
    }
    this.mark();
  }

  mark() {
    this.box.querySelector(".row[aria-current]")?.removeAttribute("aria-current");
    const row = this.box.querySelector(`.row[data-place="${this.current}"]`);
    if (!row) return;
    row.setAttribute("aria-current", "true");
    const list = row.closest(".rows");
    const [top, bottom] = [row.offsetTop - list.offsetTop, row.offsetTop - list.offsetTop + row.offsetHeight];
    if (top < list.scrollTop || bottom > list.scrollTop + list.clientHeight) {
      list.scrollTop = top - list.clientHeight / 3;
    }
  }
}
