"""Tables of ``python -m benchmarks.model``, as lines of plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from agents.evaluation.tables import align, number
from agents.model_quality import Assessment, AttackedAssessment, Calibration, Errors, Ranked
from agents.model_quality.assessment import MOST_UNSEEN, TOP
from agents.model_quality.foresight import NEAR_LIMITS
from agents.model_quality.ranking import MedianEstimate


def tell(found: Assessment, config: Mapping[str, Any], *, trained_cap: int | None) -> list[str]:
    """Return the lines of a report on what was played.

    Args:
        found: what is said of the model.
        config: how it was found.
        trained_cap: steps at which the training's episodes were cut off, None for none.
    """
    protocol = config["protocol"]
    where = f"{protocol['scenarios']}, split {protocol['split']}" if protocol["grid"] else "seeds"
    lines = [
        f"{config['run']}, {config['checkpoint']}: {protocol['environment']}, "
        f"{protocol['episodes']} episodes ({where}), {found.decisions} decisions; "
        f"{found.terminated} ended for good, {found.truncated} truncated"
    ]
    if config["explore"]:
        lines.append(f"{config['explore']:.0%} of the actions were drawn at random")
    if trained_cap is not None and (protocol["max_steps"] or math.inf) > trained_cap:
        lines.append(
            f"the training's episodes were capped at {trained_cap} steps: longer decisions were "
            f"never learned from; --max-steps {trained_cap} compares like with like"
        )
    dynamics = config["depth"] > 0
    if not dynamics:
        lines.append(
            "the run trained no dynamics (agent.unroll_steps=0): rewards, ends and the model's "
            "Q are left out"
        )
    accuracy = found.accuracy
    unit = "environment step" if config["discount_per_step"] else "decision"
    lines += [
        "",
        f"value by depth k, against the return (discount {config['discount']} per {unit}, "
        "truncated episodes bootstrapped)",
        _error_table(accuracy.value, 0),
    ]
    if accuracy.observed_value[0].count < accuracy.value[0].count:
        lines += [
            "",
            f"of these, returns of which at most {MOST_UNSEEN:.0%} is bootstrapped",
            _error_table(accuracy.observed_value, 0),
        ]
    if dynamics:
        lines += ["", "reward by depth k", _error_table(accuracy.reward, 1)]
        after = accuracy.after_end
        if any(one.count for one in after):
            lines += ["", "after an end for good, where 0 is right"]
            columns = [
                ["k", *(str(k) for k in range(1, len(after) + 1))],
                ["n", *(str(one.count) for one in after)],
                ["mean |value|", *(_shown(one.value) for one in after)],
                ["mean |reward|", *(_shown(one.reward) for one in after)],
            ]
            lines.append(align(columns))
    if dynamics:
        lines += ["", *_tell_endings(found, per_step=config["discount_per_step"])]
    lines.append("")
    if found.ranking is None:
        lines.append(
            f"ranking of actions: left out, {protocol['environment']} has no simulator to look "
            "ahead with"
        )
    else:
        some = found.ranking[0].choices
        lines += [
            f"ranking of actions beside the simulator's look-ahead, {found.candidates:.0f} a "
            f"decision; some are safe (rho below {config['safe_rho']}) in {some.safe_count} "
            f"decisions, some survive in {some.survivable_count}",
            _ranking_table(found.ranking),
        ]
    lines.append("")
    return lines


def tell_attacked(found: AttackedAssessment) -> list[str]:
    """Return the lines of a report on the attacked grids of one opponent."""
    low, high = NEAR_LIMITS
    lines = [
        f"attacked grids: opponent {found.opponent}, {found.states} validation states of "
        f"{found.episodes} episodes, list {found.sha256[:12]}",
        f"a line is held out in {found.attacked}, doing nothing overloads one in "
        f"{found.overloaded}, some plan holds in {found.can_hold}; {found.candidates:.0f} actions "
        "of distinct effect a state",
        "",
        "ranks of actions, median Spearman over states: beside planned values, the same where "
        "doing nothing overloads a line, beside the one-step look-ahead",
        align(
            [
                ["score", *(one.name for one in found.ranks)],
                ["planned", *(_median(one.planned) for one in found.ranks)],
                ["where overloaded", *(_median(one.overloaded) for one in found.ranks)],
                ["look-ahead", *(_median(one.lookahead) for one in found.ranks)],
                ["choice holds %", *(_percent(one.holds) for one in found.ranks)],
                ["regret", *(_shown(one.regret, 1) for one in found.ranks)],
            ]
        ),
        "",
    ]
    if found.loadings:
        depths = found.loadings
        lines += [
            f"loadings foreseen, absolute error; near limits: {low:g} to {high:g}; present: of "
            "foreseeing no change",
            align(
                [
                    ["actions", *(str(one.depth) for one in depths)],
                    ["n", *(str(one.count) for one in depths)],
                    ["mean", *(_shown(one.mean, 4) for one in depths)],
                    ["median", *(_shown(one.median, 4) for one in depths)],
                    ["present", *(_shown(one.present, 4) for one in depths)],
                    ["near n", *(str(one.near_count) for one in depths)],
                    ["near mean", *(_shown(one.near_mean, 4) for one in depths)],
                    ["near median", *(_shown(one.near_median, 4) for one in depths)],
                    ["near present", *(_shown(one.near_present, 4) for one in depths)],
                ]
            ),
        ]
    else:
        lines.append("loadings foreseen: n/a, the network foresees none")
    lines.append("")
    if found.endings:
        depths = found.endings
        lines += [
            "endings of reckless plans within so many actions (each the best of a few drawn)",
            align(
                [
                    ["by", *(one.name for one in depths)],
                    ["actions", *(str(one.depth) for one in depths)],
                    ["n", *(str(one.count) for one in depths)],
                    ["ended %", *(_percent(one.ended) for one in depths)],
                    ["AUC", *(_shown(one.auc) for one in depths)],
                    ["Brier score", *(_shown(one.brier, 3) for one in depths)],
                    ["of the mean", *(_shown(one.baseline_brier, 3) for one in depths)],
                ]
            ),
        ]
    else:
        lines.append("endings: n/a, the network predicts none")
    return [*lines, ""]


def attacked_csv(found: Sequence[AttackedAssessment]) -> str:
    """Return all figures as CSV: one a line, with its interval where it has one."""
    rows = [("opponent", "measure", "of", "depth", "value", "low", "high", "count")]

    def add(measure: str, of: str, depth: str, value: float, *rest: float, count: int) -> None:
        low, high = (f"{one:.4f}" for one in rest) if rest else ("", "")
        rows.append((opponent, measure, of, depth, f"{value:.4f}", low, high, str(count)))

    for one in found:
        opponent = one.opponent
        for score in one.ranks:
            for measure, estimate in (
                ("spearman_planned", score.planned),
                ("spearman_overloaded", score.overloaded),
                ("spearman_lookahead", score.lookahead),
            ):
                add(measure, score.name, "", *estimate[:3], count=estimate.count)
            add("choice_holds", score.name, "", score.holds, count=one.can_hold)
            add("regret", score.name, "", score.regret, count=one.states)
        for error in one.loadings:
            for kind in ("mean", "median", "present"):
                for lines, prefix, count in (
                    ("all lines", "", error.count),
                    ("near limits", "near_", error.near_count),
                ):
                    value = getattr(error, prefix + kind)
                    add(f"loading_error_{kind}", lines, str(error.depth), value, count=count)
        for ending in one.endings:
            for kind in ("ended", "auc", "brier", "baseline_brier"):
                value = getattr(ending, kind)
                add(f"ending_{kind}", ending.name, str(ending.depth), value, count=ending.count)
    return "".join(",".join(row) + "\n" for row in rows)


def _tell_endings(found: Assessment, *, per_step: bool) -> list[str]:
    what = "discounts" if per_step else "end of the episode"
    if found.endings is None:
        return [
            f"calibration of the predicted {what}: left out, the network predicts no discounts "
            "(network.predict_discount=false)"
        ]
    title = "gamma^duration, or 0 where it ends" if per_step else "probability that it ends here"
    first = found.endings[0]
    return [
        f"calibration of the predicted {what} by depth k: {title}",
        _calibration_table(found.endings),
        "",
        "reliability at depth 1",
        _bin_table(first),
    ]


def _error_table(errors: Sequence[Errors], first: int) -> str:
    return align(
        [
            ["k", *(str(first + position) for position in range(len(errors)))],
            ["n", *(str(one.count) for one in errors)],
            ["observed", *(_shown(one.observed) for one in errors)],
            ["mean abs. error", *(_shown(one.mae) for one in errors)],
            ["of the mean", *(_shown(one.baseline_mae) for one in errors)],
            ["bias", *(_shown(one.bias, sign="+") for one in errors)],
            ["correlation", *(_shown(one.correlation) for one in errors)],
            ["R^2", *(_shown(one.r_squared) for one in errors)],
        ]
    )


def _calibration_table(depths: Sequence[Calibration]) -> str:
    return align(
        [
            ["k", *(str(position) for position in range(1, len(depths) + 1))],
            ["n", *(str(one.count) for one in depths)],
            ["predicted", *(_shown(one.predicted, 4) for one in depths)],
            ["observed", *(_shown(one.observed, 4) for one in depths)],
            ["Brier score", *(_shown(one.brier, 4) for one in depths)],
            ["of the mean", *(_shown(one.baseline_brier, 4) for one in depths)],
            ["calibration error", *(_shown(one.calibration_error, 4) for one in depths)],
        ]
    )


def _bin_table(calibration: Calibration) -> str:
    filled = [one for one in calibration.bins if one.count]
    return align(
        [
            ["prediction", *(f"{one.low:g} to {one.high:g}" for one in filled)],
            ["n", *(str(one.count) for one in filled)],
            ["predicted", *(_shown(one.predicted, 4) for one in filled)],
            ["observed", *(_shown(one.observed, 4) for one in filled)],
        ]
    )


def _ranking_table(ranking: Sequence[Ranked]) -> str:
    return align(
        [
            ["choice", *(one.name for one in ranking)],
            ["Spearman", *(_shown(one.correlation) for one in ranking)],
            [f"best in top {TOP} %", *(_percent(one.hits_best) for one in ranking)],
            ["safe %", *(_percent(one.choices.safe) for one in ranking)],
            ["ends the game %", *(_percent(one.choices.ends_game) for one in ranking)],
            ["regret, rho", *(_shown(one.choices.regret, 3) for one in ranking)],
        ]
    )


def _shown(value: float | None, digits: int = 2, *, sign: str = "") -> str:
    return "-" if value is None or math.isnan(value) else number(value, digits, sign=sign)


def _median(estimate: MedianEstimate) -> str:
    if not estimate.count:
        return "-"
    return f"{estimate.median:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _percent(share: float | None) -> str:
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f}"
