"""Draws a ``GridPicture``: lines, symbols, and labels where nothing else is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from envs.grid.picture import GridPicture

# of a loading, as in agents/pictures/report/assets/colours.js
_STOPS = (0.0, 0.4, 0.8, 0.8, 0.95, 1.0, 1.25)
_COLOURS = ("#c5d0db", "#93b7d8", "#3273ab", "#e6b32e", "#e67e17", "#cc3a12", "#7f1408")

_PAPER = "#ffffff"
_INK = "#17212b"
_MUTED = "#566472"
_BAD = "#b8321a"
_NODE = "#22303d"
_SECOND = "#7b3f98"  # what is on busbar 2
_SYMBOL = "#6a7886"
_RENEWABLE = "#8fbfa6"
_DEAD = "#c3ccd5"

_LETTERS = {"solar": "S", "wind": "W", "hydro": "H", "nuclear": "N", "thermal": "T"}
_SAMPLES = 2  # pixels drawn for each pixel shown, along either axis
_HEADER = 58.0  # pixels at a height of 720
_FOOTER = 20.0
_ON_A_LINE = 12.0  # what a point of a line under a label costs, in square pixels of overlap
_ROOMY = 90.0  # pixels from a substation to the next at which symbols have their plain size

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], dtype=np.float64)


def loading_colour(rho: float) -> tuple[int, int, int]:
    """Return the colour of a loading: blue, from 80 % on amber to vermilion."""
    rho = min(max(rho, 0.0), _STOPS[-1])
    after = next((place for place, stop in enumerate(_STOPS) if stop > rho), len(_STOPS) - 1)
    low, high = _STOPS[after - 1], _STOPS[after]
    share = 1.0 if high == low else (rho - low) / (high - low)
    mixed = (1.0 - share) * _rgb(_COLOURS[after - 1]) + share * _rgb(_COLOURS[after])
    red, green, blue = (round(value) for value in mixed.tolist())
    return red, green, blue


@lru_cache(maxsize=32)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)  # Pillow brings one along


class _Label(NamedTuple):
    """Text, and where it may stand, the best place first."""

    text: str
    centres: Sequence[Point]
    size: float  # pixels
    colour: str


class Drawing:
    """One picture on its way. All lengths are pixels shown; ``_Pen`` draws them finer."""

    def __init__(self, picture: GridPicture, width: int, height: int) -> None:
        self._picture = picture
        self._layout, self._state = picture.layout, picture.state
        self._dead = picture.end.startswith("blackout")
        self._zoom = min(width / 1280, height / 720)  # of words
        self._pen = _Pen(width, height)
        self._size = (float(width), float(height))
        self._place()
        self._taken: list[Box] = []  # by symbols and labels
        self._paths: list[np.ndarray] = []  # points of lines [N, 2], about 6 pixels apart
        self._labels: list[_Label] = []

    def image(self) -> Image.Image:
        """Return the finished picture."""
        spots = self._find_spots()
        for line in range(self._layout.num_lines):
            self._line(line, spots)
        self._hang(spots)
        self._nodes(spots)
        self._header()
        for label in self._labels:
            self._write_where_free(label)
        return self._pen.image()

    def _place(self) -> None:
        """Find the centres of substations and the size of symbols."""
        points = np.array(self._picture.positions)
        width, height = self._size
        header, footer = _HEADER * self._zoom, _FOOTER * self._zoom
        span = np.ptp(points, axis=0)
        margin = 62.0 * self._zoom
        room = np.array([width - 2 * margin, height - header - footer - 2 * margin])
        scale = float(np.min(room / np.maximum(span, 1e-9)))
        corner = (room - span * scale) / 2 + np.array([margin, header + margin])
        self._centres = (points - points.min(axis=0)) * scale + corner  # [S, 2]
        distances = np.linalg.norm(self._centres[:, None] - self._centres, axis=-1)
        nearest = np.min(np.where(distances > 1.0, distances, 2 * _ROOMY), axis=1)
        typical = float(np.quantile(nearest, 0.25))
        self._unit = min(max(typical / _ROOMY, 0.3), 1.5 * max(self._zoom, 0.5))
        self._radius = 13.0 * self._unit
        self._letters = max(12.0 * self._unit, 9.0 * self._zoom)

    # ------------------------------------------------------------------------ substations

    def _find_spots(self) -> dict[tuple[int, int], Point]:
        """Return where each busbar of each substation is drawn."""
        spots: dict[tuple[int, int], Point] = {}
        for substation, centre in enumerate(self._centres.tolist()):
            shift = np.zeros(2)
            if self._picture.split[substation] and not self._dead:
                shift = self._split_direction(substation) * self._radius * 1.15
            for busbar in (-1, 0, 1, 2):
                side = 1.0 if busbar > 1 else -1.0
                spots[substation, busbar] = (
                    centre[0] + side * shift[0],
                    centre[1] + side * shift[1],
                )
        return spots

    def _split_direction(self, substation: int) -> np.ndarray:
        """Return where busbar 2 lies, seen from busbar 1: towards what hangs on it."""
        busbars, pull = self._state.topo_vect, np.zeros(2)
        for here, there, ends in self._ends():
            for other in np.flatnonzero(here == substation).tolist():
                busbar = int(busbars[ends[other]])
                way = self._centres[there[other]] - self._centres[substation]
                length = float(np.linalg.norm(way))
                if busbar > 0 and length > 0.0:
                    pull += (1.0 if busbar > 1 else -1.0) * way / length
        length = float(np.linalg.norm(pull))
        return pull / length if length > 0.05 else np.array([1.0, 0.0])

    def _ends(self) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return of either end of lines ``[L]``: its substation, the other one, its element end."""
        layout = self._layout
        origin, extremity = layout.line_or_substation, layout.line_ex_substation
        yield origin, extremity, layout.line_or_position
        yield extremity, origin, layout.line_ex_position

    def _nodes(self, spots: dict[tuple[int, int], Point]) -> None:
        radius, pen = self._radius, self._pen
        for substation in range(self._layout.num_substations):
            first, second = spots[substation, 1], spots[substation, 2]
            busbars = self._state.topo_vect[self._layout.element_substation == substation]
            used = set(busbars[busbars > 0].tolist())
            if first != second:
                pen.line((first, second), _NODE, 4.0 * self._unit)
                pen.circle(second, radius * 0.84, _SECOND)
                self._take(second, radius)
            colour = _SECOND if used == {2} else _NODE
            pen.circle(first, radius, _SYMBOL if self._dead else colour)
            pen.text(first, str(substation), 13.0 * self._unit, _PAPER)
            self._take(first, radius)

    # ------------------------------------------------------------------------------- lines

    def _line(self, line: int, spots: dict[tuple[int, int], Point]) -> None:
        layout, state, unit = self._layout, self._state, self._unit
        ends = (layout.line_or_position[line], layout.line_ex_position[line])
        substations = (int(layout.line_or_substation[line]), int(layout.line_ex_substation[line]))
        start, end = (
            np.array(spots[where, int(state.topo_vect[end])])
            for where, end in zip(substations, ends, strict=True)
        )
        way = end - start
        length = max(float(np.linalg.norm(way)), 1.0)
        normal = np.array([-way[1], way[0]]) / length
        bend = self._bend(line)
        share = np.linspace(0.0, 1.0, 21 if bend else 2)[:, None]
        path = start + share * way + 2.0 * share * (1.0 - share) * normal * bend
        points = [(x, y) for x, y in path.tolist()]
        self._paths.append(_dense(path))
        middle = start + way / 2 + normal * bend / 2
        rho, held = float(state.rho[line]), int(state.attack_steps[line])
        text, colour = f"{100 * rho:.0f}", _BAD if rho >= 0.95 else _INK
        if self._dead:
            self._pen.dashes(points, _DEAD, 2.2 * unit, 2.0 * unit, 6.0 * unit)
            return
        if self._picture.open_lines[line]:
            if held:
                self._pen.dashes(points, _BAD, 3.4 * unit, 8.0 * unit, 6.0 * unit)
                text, colour = f"out {held}", _BAD
            else:
                self._pen.dashes(points, _SYMBOL, 2.2 * unit, 2.0 * unit, 6.0 * unit)
                text, colour = "open", _MUTED
        else:
            wide = (3.2 + 3.8 * min(max(rho, 0.0), 1.25)) * unit
            self._pen.line(points, loading_colour(rho), wide)
            flow = float(state.p_or[line])
            if abs(flow) >= 0.05:
                along = way / length * (1.0 if flow > 0 else -1.0)
                self._pen.arrow(middle, along, (4.5 + 0.75 * wide) * unit**0.5, rho)
        away = (9.0 + 0.5 * len(text) * abs(float(normal[0])) * 4.0) * unit + 0.35 * self._letters
        upwards = 1.0 if normal[1] < 0 or (normal[1] == 0 and normal[0] > 0) else -1.0
        preferred = float(np.sign(bend)) or upwards
        centres = [
            tuple((start + t * way + normal * (2 * t * (1 - t) * bend + side * away)).tolist())
            for t in (0.5, 0.4, 0.6, 0.3, 0.7, 0.22, 0.78)
            for side in (preferred, -preferred)
        ]
        self._labels.append(_Label(text, centres, self._letters, colour))

    def _bend(self, line: int) -> float:
        """Return how far lines beside each other bend apart, pixels."""
        layout = self._layout
        pairs = np.sort(np.stack([layout.line_or_substation, layout.line_ex_substation], 1), 1)
        beside = np.flatnonzero((pairs == pairs[line]).all(axis=1))
        number = int(np.flatnonzero(beside == line)[0])
        side = 1.0 if layout.line_or_substation[line] < layout.line_ex_substation[line] else -1.0
        return (number - (len(beside) - 1) / 2) * 34.0 * self._unit * side

    # --------------------------------------------------------------- generators and loads

    def _hang(self, spots: dict[tuple[int, int], Point]) -> None:
        """Hang generators and loads from substations, in the widest gaps between their lines."""
        layout, state = self._layout, self._state
        angles: list[list[float]] = [[] for _ in range(layout.num_substations)]
        for here, there, _ in self._ends():
            for a, b in zip(here.tolist(), there.tolist(), strict=True):
                x, y = self._centres[b] - self._centres[a]
                angles[a].append(float(np.arctan2(y, x)))
        stubs = [
            (int(at), int(end), float(power), kind, bool(renewable))
            for at, end, power, kind, renewable in zip(
                layout.generator_substation,
                layout.generator_position,
                state.gen_p,
                self._picture.kinds,
                layout.renewable,
                strict=True,
            )
        ] + [
            (int(at), int(end), float(power), None, False)
            for at, end, power in zip(
                layout.load_substation, layout.load_position, state.load_p, strict=True
            )
        ]
        for at, end, power, kind, renewable in stubs:
            angle = _widest_gap(angles[at])
            angles[at].append(angle)
            way = np.array([np.cos(angle), np.sin(angle)])
            spot = self._centres[at] + (self._radius + 24.0 * self._unit) * way
            start = spots[at, int(state.topo_vect[end])]
            x, y = spot.tolist()
            self._pen.line((start, (x, y)), _DEAD if self._dead else _SYMBOL, 2.0 * self._unit)
            self._symbol((x, y), way, kind, renewable)
            self._take((x, y), 10.0 * self._unit)
            if not self._dead:
                size = 0.92 * self._letters
                far = 10.0 * self._unit + 0.75 * size
                turns = (0.0, 0.9, -0.9, 1.5, -1.5, 2.2, -2.2)
                centres = []
                for turn in turns:
                    c, s = np.cos(angle + turn), np.sin(angle + turn)
                    centres.append((x + c * (far + 0.5 * size), y + s * far))
                self._labels.append(_Label(f"{power:.0f}", centres, size, _MUTED))

    def _symbol(self, spot: Point, way: np.ndarray, kind: str | None, renewable: bool) -> None:
        size, unit = 10.0 * self._unit, self._unit
        if kind is None:  # a load: a triangle that points away
            across = np.array([-way[1], way[0]])
            tip, base = np.array(spot) + way * size, np.array(spot) - way * size * 0.6
            corners = (tip, base + across * size * 0.85, base - across * size * 0.85)
            self._pen.polygon([(x, y) for x, y in (one.tolist() for one in corners)], _SYMBOL)
            return
        self._pen.circle(spot, size, _SYMBOL)
        self._pen.circle(spot, size - 1.6 * unit, _RENEWABLE if renewable else _PAPER)
        self._pen.text(spot, _LETTERS.get(kind, "G"), 11.0 * unit, _NODE)

    # ------------------------------------------------------------------------------- words

    def _take(self, centre: Point, radius: float) -> None:
        x, y = centre
        self._taken.append((x - radius, y - radius, x + radius, y + radius))

    def _write_where_free(self, label: _Label) -> None:
        """Write a label at its first place that nothing takes, or else at the least taken one."""
        width, height = self._pen.text_size(label.text, label.size)
        boxes = [
            (x - width / 2, y - height / 2, x + width / 2, y + height / 2) for x, y in label.centres
        ]
        best = min(range(len(boxes)), key=lambda place: self._overlap(boxes[place]))
        self._taken.append(boxes[best])
        self._pen.text(label.centres[best], label.text, label.size, label.colour, halo=True)

    def _overlap(self, box: Box) -> float:
        left, top, right, bottom = box
        area = sum(
            max(0.0, min(right, r) - max(left, x)) * max(0.0, min(bottom, b) - max(top, y))
            for x, y, r, b in self._taken
        )
        lines = np.concatenate(self._paths)
        under = (lines > [left - 1, top - 1]).all(axis=1) & (lines < [right + 1, bottom + 1]).all(
            axis=1
        )
        area += _ON_A_LINE * float(under.sum())
        inside = left >= 0 and top >= 0 and right <= self._size[0] and bottom <= self._size[1]
        return area if inside else area + 1e6

    def _header(self) -> None:
        zoom, pen, picture = self._zoom, self._pen, self._picture
        x = 16.0 * zoom
        self._title((x, 20.0 * zoom), f"{picture.layout.name}, {picture.when}", 18 * zoom, _INK)
        told = picture.end if self._dead else picture.standing
        colour = _BAD if self._dead else _MUTED
        width, _ = pen.text_size(told, 15 * zoom)
        room = self._size[0] - x - 330.0 * zoom
        size = 15 * zoom * min(1.0, max(room / width, 0.6))
        self._title((x, 45.0 * zoom), told, size, colour)
        left, right = self._size[0] - 290.0 * zoom, self._size[0] - 60.0 * zoom
        for step in range(100):
            a, b = (left + (right - left) * part / 100 for part in (step, step + 1))
            pen.rectangle((a, 14 * zoom, b, 26 * zoom), loading_colour(1.25 * step / 100))
        for rho in (0.0, 0.8, 1.0):
            where = left + (right - left) * rho / 1.25
            pen.text((where, 38 * zoom), f"{100 * rho:.0f}", 12 * zoom, _MUTED)
        pen.text((right + 8 * zoom, 20 * zoom), "%", 12 * zoom, _MUTED, anchor="lm")
        kinds = [kind for kind in _LETTERS if kind in picture.kinds]
        legend = ", ".join(f"{_LETTERS[kind]} {kind}" for kind in kinds)
        symbols = f"{legend}; triangles are loads; MW"
        self._title((x, self._size[1] - 14 * zoom), symbols, 12 * zoom, _MUTED)

    def _title(self, at: Point, text: str, size: float, colour: str) -> None:
        """Write words that begin at a point; no label is put there."""
        self._pen.text(at, text, size, colour, anchor="lm")
        (x, y), (width, height) = at, self._pen.text_size(text, size)
        self._taken.append((x, y - height / 2, x + width, y + height / 2))


class _Pen:
    """Draws on a larger canvas, which is shrunk at the end, so that edges are smooth."""

    def __init__(self, width: int, height: int) -> None:
        self._canvas = Image.new("RGB", (width * _SAMPLES, height * _SAMPLES), _PAPER)
        self._draw = ImageDraw.Draw(self._canvas)

    def image(self) -> Image.Image:
        return self._canvas.reduce(_SAMPLES)

    def line(self, points: Sequence[Point], colour: Any, width: float) -> None:
        wide = max(1, round(width * _SAMPLES))
        self._draw.line(_fine(points), fill=colour, width=wide, joint="curve")

    def dashes(
        self, points: Sequence[Point], colour: Any, width: float, on: float, off: float
    ) -> None:
        path = np.array(points)
        lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        for begin in np.arange(0.0, lengths[-1], on + off):
            at = np.linspace(begin, min(begin + on, lengths[-1]), 3)
            piece = np.stack([np.interp(at, lengths, path[:, axis]) for axis in (0, 1)], axis=1)
            self.line([(x, y) for x, y in piece.tolist()], colour, width)

    def circle(self, centre: Point, radius: float, colour: Any) -> None:
        x, y = centre
        self._draw.ellipse(_fine([(x - radius, y - radius), (x + radius, y + radius)]), fill=colour)

    def rectangle(self, box: Box, colour: Any) -> None:
        self._draw.rectangle(_fine([box[:2], box[2:]]), fill=colour)

    def polygon(self, points: Sequence[Point], colour: Any) -> None:
        self._draw.polygon(_fine(points), fill=colour)

    def arrow(self, middle: np.ndarray, along: np.ndarray, size: float, rho: float) -> None:
        across = np.array([-along[1], along[0]])
        for grown, colour in ((size + 1.6, _PAPER), (size, loading_colour(rho))):
            tip = middle + along * grown
            back = middle - along * grown * 0.8
            corners = (tip, back + across * grown * 0.85, back - across * grown * 0.85)
            self.polygon([(x, y) for x, y in (one.tolist() for one in corners)], colour)

    def text_size(self, text: str, size: float) -> tuple[float, float]:
        """Return width and height, pixels shown."""
        return _font(round(size * _SAMPLES)).getlength(text) / _SAMPLES, 0.8 * size

    def text(
        self, at: Point, text: str, size: float, colour: str, *, anchor: str = "mm",
        halo: bool = False,
    ) -> None:  # fmt: skip
        self._draw.text(
            _fine([at])[0],
            text,
            font=_font(max(round(size * _SAMPLES), 1)),
            fill=colour,
            anchor=anchor,
            stroke_width=round(0.18 * size * _SAMPLES) if halo else 0,
            stroke_fill=_PAPER,
        )


def _fine(points: Sequence[Point]) -> list[Point]:
    return [(x * _SAMPLES, y * _SAMPLES) for x, y in points]


def _dense(path: np.ndarray) -> np.ndarray:
    """Return points of a path ``[M, 2]``, a few pixels apart: ``[N, 2]``."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.arange(0.0, lengths[-1], 6.0)
    return np.stack([np.interp(at, lengths, path[:, axis]) for axis in (0, 1)], axis=1)


def _widest_gap(angles: Sequence[float]) -> float:
    """Return the middle of the widest gap between angles, radians."""
    if not angles:
        return np.pi / 2
    ordered = np.sort(np.mod(angles, 2 * np.pi))
    gaps = np.diff(np.append(ordered, ordered[0] + 2 * np.pi))
    widest = int(np.argmax(np.round(gaps, 6)))
    return float(ordered[widest] + gaps[widest] / 2)
