// All lines of the grid at one step, the most loaded first: the drawing in words.

function flowText(episode, frame, index) {
  const line = episode.grid.lines[index];
  const flow = episode.flow.at(frame, index);
  const [from, to] = flow < 0 ? [line.to, line.from] : [line.from, line.to];
  return `${Math.abs(flow).toFixed(1)} MW, ${from} to ${to}`;
}

class LinesTable {
  /**
   * @param onPoint called with a line's number when a person points at it, null when at none.
   * @param onPick called with a line's number when a person clicks it.
   */
  constructor(box, { onPoint, onPick }) {
    Object.assign(this, { box, onPoint, onPick });
  }

  show(episode, frame) {
    const rho = (index) => episode.rho.at(frame, index);
    const order = episode.grid.lines.map((_, index) => index).sort((a, b) => rho(b) - rho(a));
    const head = ["Line", "Loading", "Flow", ""].map((text) => element("th", { scope: "col" }, text));
    const focused = this.box.contains(document.activeElement) ? document.activeElement.dataset.line : null;
    this.box.replaceChildren(
      element(
        "table",
        { class: "lines-table" },
        element("thead", {}, element("tr", {}, ...head)),
        element("tbody", {}, ...order.map((index) => this.row(episode, frame, index))),
      ),
    );
    if (focused !== null) this.box.querySelector(`button[data-line="${focused}"]`)?.focus();
  }

  row(episode, frame, index) {
    const open = episode.isOpen(frame, index);
    const steps = episode.overloadedFor(frame, index);
    const left = episode.heldFor(frame, index);
    const note = left ? `held out by an attack, ${say.more(left)}` : open ? "open" : steps ? `above its limit for ${say.steps(steps)}` : "";
    const name = capital(say.line(episode.grid, index));
    return element(
      "tr",
      { onpointerenter: () => this.onPoint(index), onpointerleave: () => this.onPoint(null) },
      element(
        "th",
        { scope: "row" },
        element("button", { type: "button", class: "link", "data-line": index, onclick: () => this.onPick(index) }, name),
      ),
      element("td", {}, open ? "\u2013" : loadingChip(episode.rho.at(frame, index))),
      element("td", {}, open ? "\u2013" : flowText(episode, frame, index)),
      element("td", { class: "muted" }, note),
    );
  }
}
