"""Plots of models on attacked grids, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from agents.model_quality.attacked import DEPTHS, AttackedAssessment
from agents.model_quality.foresight import NEAR_LIMITS
from agents.pictures.plots import write_plot

_MARKERS = ("o", "s", "^", "v")
_SHOWN = 4000  # points of a scatter plot


def write_attacked_plots(folder: Path, found: Sequence[AttackedAssessment]) -> list[Path]:
    """Write ``ranks.png``, and of networks that foresee ``loadings.png`` and ``foreseen.png``.

    And ``endings.png`` where endings are foreseen.

    Args:
        folder: an existing folder.
        found: one per opponent, at least one.

    Returns:
        The files written, in this order.
    """
    draw = {"ranks.png": draw_ranks}
    if all(one.loadings for one in found):
        draw |= {"loadings.png": draw_loadings, "foreseen.png": draw_foreseen}
    if any(one.endings for one in found):
        draw["endings.png"] = draw_endings
    return [
        write_plot(folder / name, lambda axes, draw=one: draw(axes, found))
        for name, one in draw.items()
    ]


def draw_ranks(axes: Axes, found: Sequence[AttackedAssessment]) -> None:
    """Draw how each score's rank correlations are spread over states, a box per opponent."""
    names = list(found[0].correlations)
    width = 0.8 / len(found)
    for number, one in enumerate(found):
        samples = [
            [value for value in one.correlations[name] if value is not None] for name in names
        ]
        colour = f"C{number}"
        axes.boxplot(
            samples,
            positions=np.arange(len(names)) + (number + 0.5) * width - 0.4,
            widths=0.8 * width,
            showfliers=False,
            medianprops={"color": "black"},
            boxprops={"facecolor": colour, "alpha": 0.6},
            patch_artist=True,
        )
        axes.scatter([], [], marker="s", color=colour, alpha=0.6, label=one.opponent)
    axes.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    axes.set_xticks(np.arange(len(names)), names)
    axes.set(ylabel="Spearman beside planned values", ylim=(-0.6, 1.03))
    axes.set_title("How actions are ranked, over attacked or stressed states")
    axes.legend(loc="lower left")
    axes.grid(axis="y", alpha=0.3)


def draw_loadings(axes: Axes, found: Sequence[AttackedAssessment]) -> None:
    """Draw the mean error of foreseen loadings by depth, with that of the present loadings."""
    low, high = NEAR_LIMITS
    for number, one in enumerate(found):
        colour, marker = f"C{number}", _MARKERS[number % len(_MARKERS)]
        lines = {
            "all lines": ([error.mean for error in one.loadings], "-"),
            f"loaded {low:g} to {high:g}": ([error.near_mean for error in one.loadings], "--"),
            "present loadings": ([error.present for error in one.loadings], ":"),
        }
        for label, (errors, style) in lines.items():
            label = f"{one.opponent}, {label}"
            axes.plot(DEPTHS, errors, style, color=colour, marker=marker, label=label)
    axes.set_yscale("log")
    axes.set_xticks(DEPTHS)
    axes.set(xlabel="actions deep", ylabel="mean absolute error of loadings")
    axes.set_title("Loadings foreseen from the root")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3, which="both")


def draw_foreseen(axes: Axes, found: Sequence[AttackedAssessment]) -> None:
    """Draw foreseen loadings against true ones, ``DEPTHS[1]`` actions deep."""
    highest = 1.5
    for number, one in enumerate(found):
        true, foreseen = one.foreseen[:, :: max(1, one.foreseen.shape[1] // _SHOWN)]
        axes.scatter(true, foreseen, s=2, alpha=0.3, color=f"C{number}", label=one.opponent)
    axes.plot((0, highest), (0, highest), color="black", linewidth=0.8, linestyle="--")
    axes.set(xlabel="loading in the simulator", ylabel="foreseen loading")
    axes.set(xlim=(0, highest), ylim=(0, highest))
    axes.set_title(f"Loadings {DEPTHS[1]} actions deep")
    axes.legend(markerscale=4)
    axes.grid(alpha=0.3)


def draw_endings(axes: Axes, found: Sequence[AttackedAssessment]) -> None:
    """Draw how well endings are told from going on, by depth."""
    for number, one in enumerate(found):
        for name, style in (("discounts", "-"), ("foreseen", "--")):
            errors = [error for error in one.endings if error.name == name]
            if errors:
                axes.plot(
                    [error.depth for error in errors],
                    [error.auc for error in errors],
                    style,
                    color=f"C{number}",
                    marker=_MARKERS[number % len(_MARKERS)],
                    label=f"{one.opponent}, {name}",
                )
    axes.axhline(0.5, color="black", linewidth=0.8, linestyle="--", label="chance")
    axes.set_xticks(DEPTHS)
    axes.set(xlabel="actions deep", ylabel="area under the ROC curve", ylim=(0, 1.02))
    axes.set_title("Endings of reckless plans")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
