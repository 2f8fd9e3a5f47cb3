"""``network=flow``: a network with a learned DC-like power-flow layer.

In a power grid everything balances at every busbar, so what an action does to far lines depends on
the whole topology, which a plain network can only learn by heart. Here the balance is a layer:
potentials on the grid's graph (``potentials``), whose conductances, sources and leaks are learned,
and so is how loadings are read from them. The wiring comes from the observation and the action
(``grid_tables``). It is a graph network taken to its fixed point, an implicit layer (Bai et al.
2019, https://arxiv.org/abs/1909.01377). It is no simulator: what it knows of impedances, losses
and limits it has learned in training, from look-aheads, and it errs.

Shape letters: B observations, M rows, C channels, L lines, K injections, E element ends, F features
of a line, A actions.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from agents.muzero.auxiliary import AuxiliaryTarget
from agents.muzero.networks.base import NetworkOutput, ParameterGroup, require_positive
from agents.muzero.networks.residual import ResidualNetwork
from agents.parts import KeywordsOf
from agents.power_grid.compiled_flow import CompiledFlow
from agents.power_grid.grid_tables import GridTables
from agents.power_grid.lookahead_target import LookaheadTarget
from agents.power_grid.plan_target import PlanTarget
from agents.power_grid.potentials import Potentials, Wiring
from powergrid_muzero.checks import check_count

_CHANNELS = 2  # of active and of reactive power: angles and voltages, so to speak
_KNOTS = (0.0, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.3)  # loadings where the score may bend
_STEEPNESS = 50.0  # of the score, per unit of loading, where a slope is 1
_STRAIN = 50.0  # how sharply a line just above its limit is told from one just below
_LEAST_LEAK = 1e-4  # grounds every part of a graph
_RATE = 30.0  # the few numbers that mean something learn this many times as fast as weights
_ENDING_RATE = 5.0
_COLLAPSED, _FAR = 3.0, 5.0  # loadings and potentials beyond which nothing is told apart


class PredictedOutcomes(NamedTuple):
    """What is predicted of M actions, a step ahead."""

    loading: torch.Tensor  # [M, L], of each line of the grid
    end_logit: torch.Tensor  # [M], that the game would end
    score: torch.Tensor  # [M], what the predicted loading adds to the policy's logit


class FlowNetwork(ResidualNetwork):
    """A residual network whose root policy also weighs what each action is foreseen to lead to.

    The policy of a root is, for each legal action a,

        prior_weight p(a) + score(a) - termination_penalty log(1 + exp(end(a)))

    with p the residual network's own policy logits, ``score`` a learned function of the foreseen
    highest loading and of how far from the reference topology the action leads, and ``end`` the
    logit that the game would end. Further down in a search tree, where there is no observation,
    it is p alone.

    Args:
        observation_shape: of ``features``.
        num_actions: A of the grid.
        grid: grid2op name or folder of the grid that it will see; None, of an environment without
            one, is refused.
        actions: of that grid: "all", the name of an action set, or a file's path.
        readout_size: hidden numbers a line, from potentials to its loading.
        end_size: hidden numbers of what tells the end of the game.
        prior_weight: weight of p, the residual network's own policy. The weight that predicts the
            teacher best (0.7) chooses worse: in rare states it overrules the predicted loadings.
        termination_penalty: weight of a predicted end of the game; 1 takes its probability as it
            is, more is for tasks where one ending costs more than many good choices win.
        lookaheads: actions of each taught decision whose look-ahead is learned from.
        lookahead_weight: of the losses on those, see ``LookaheadTarget``.
        planned: topologies of each taught decision that are learned from, which several actions and
            losses of lines lead to; 0 learns of single actions alone.
        residual: of ``ResidualNetwork``.

    Raises:
        ValueError: there is no grid, a size is not positive, a weight is negative or not finite, or
            these are not the sizes of the grid's features and actions.
    """

    def __init__(
        self,
        *,
        observation_shape: tuple[int, ...],
        num_actions: int,
        grid: str | None,
        actions: str = "all",
        readout_size: int = 16,
        end_size: int = 64,
        prior_weight: float = 0.25,
        termination_penalty: float = 30.0,
        lookaheads: int = 16,
        lookahead_weight: float = 1.0,
        planned: int = 0,
        **residual: Annotated[Any, KeywordsOf(ResidualNetwork)],
    ) -> None:
        if grid is None:
            raise ValueError(
                "grid=null: the flow network knows how a grid of PowerGrid-v0 is wired, and this "
                "environment has none; choose network=residual or network=mlp"
            )
        super().__init__(observation_shape=observation_shape, num_actions=num_actions, **residual)
        require_positive(readout_size=readout_size, end_size=end_size)
        weights = {"prior_weight": prior_weight, "termination_penalty": termination_penalty}
        for name, number in weights.items():
            if not 0.0 <= number < math.inf:
                raise ValueError(f"{name} must be finite and not negative: {number}")
        self.prior_weight = float(prior_weight)
        self.termination_penalty = float(termination_penalty)
        self.tables = GridTables(
            grid,
            observation_size=self.observation_size,
            num_actions=num_actions,
            actions=actions,
        )
        num_lines = self.tables.num_lines
        self.auxiliary_targets: tuple[AuxiliaryTarget, ...] = (
            LookaheadTarget(num_lines=num_lines, size=lookaheads, weight=lookahead_weight),
        )
        self.loadings = Loadings(self.tables, readout_size)
        self.endings = Endings(self.tables, self.observation_size, end_size)
        self.collapses: Endings | None = None
        if check_count("planned", planned, least=0):
            self.auxiliary_targets += (
                PlanTarget(
                    num_lines=num_lines,
                    num_ends=len(self.tables.substation),
                    size=planned,
                    weight=lookahead_weight,
                ),
            )
            self.collapses = Endings(self.tables, self.observation_size, end_size)
        knots = torch.tensor(_KNOTS)
        self.register_buffer("knots", knots, persistent=False)
        self.knots: torch.Tensor
        # above 0.9 each hundredth of loading counts from the start; nearness to the reference too
        slopes = torch.zeros(len(_KNOTS))
        slopes[0], slopes[_KNOTS.index(0.9)] = -5.0 / _STEEPNESS, -50.0 / _STEEPNESS
        self.slopes = nn.Parameter(slopes)
        self.departure_slope = nn.Parameter(torch.tensor(-1.0))

    def parameter_groups(self) -> list[ParameterGroup]:
        """See ``MuZeroNetwork.parameter_groups``: what foresees learns faster, without decay.

        Its numbers mean something (a conductance, a slope): nothing draws them to 0.
        """
        endings = list(self.endings.parameters())
        if self.collapses is not None:
            endings += self.collapses.parameters()
        own = [*self.loadings.parameters(), self.slopes, self.departure_slope]
        known = {id(parameter) for parameter in own + endings}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [
            ParameterGroup(rest),
            ParameterGroup(own, rate=_RATE, decays=False),
            ParameterGroup(endings, rate=_ENDING_RATE, decays=False),
        ]

    def initial_inference(
        self, observations: torch.Tensor, legal: torch.Tensor | None = None
    ) -> NetworkOutput:
        """See ``MuZeroNetwork.initial_inference``."""
        output = super().initial_inference(observations, legal)
        if legal is None:
            legal = torch.ones_like(output.policy_logits, dtype=torch.bool)
        rows, actions = legal.nonzero(as_tuple=True)
        outcomes = self.outcomes(observations, rows, actions)
        choice = self.choice_logits(output.policy_logits[rows, actions], outcomes)
        logits = output.policy_logits.index_put((rows, actions), choice)
        return output._replace(policy_logits=logits)

    def outcomes(
        self, observations: torch.Tensor, rows: torch.Tensor, actions: torch.Tensor
    ) -> PredictedOutcomes:
        """Return what it predicts of ``actions [M]`` int64 in ``observations[rows]``.

        Args:
            observations: ``[B, ...]``.
            rows: ``[M]`` int64.
            actions: ``[M]`` int64.
        """
        flat = observations.flatten(1)
        busbars = self.tables.after(self.tables.busbars(flat)[rows], actions)
        return self.foresee(flat, self.loadings.observe(self.tables, flat), rows, busbars)

    def outcomes_along(
        self, observations: torch.Tensor, rows: torch.Tensor, actions: torch.Tensor
    ) -> PredictedOutcomes:
        """Return what it predicts after each of several actions in a row: fields ``[M, D, ...]``.

        It foresees topologies alone: injections and overload counters are those of one step ahead.

        Args:
            observations: ``[B, ...]``.
            rows: ``[M]`` int64.
            actions: ``[M, D]`` int64, D at least 1.
        """
        flat = observations.flatten(1)
        known = self.loadings.observe(self.tables, flat)
        busbars, found = self.tables.busbars(flat)[rows], []
        for action in actions.unbind(1):
            busbars = self.tables.after(busbars, action)
            found.append(self.foresee(flat, known, rows, busbars))
        return PredictedOutcomes(
            *(torch.stack(values, dim=1) for values in zip(*found, strict=True))
        )

    def foresee(
        self,
        flat: torch.Tensor,
        known: torch.Tensor,
        rows: torch.Tensor,
        busbars: torch.Tensor,
    ) -> PredictedOutcomes:
        """Return what it predicts of topologies.

        Args:
            flat: ``[B, N]`` observations, whose overload counters count.
            known: ``[B, W]`` what is known of the loads and generation, see ``Loadings.observe``.
            rows: ``[M]`` int64, the observation of each topology.
            busbars: ``[M, E]`` that are foreseen.
        """
        tables = self.tables
        if torch.is_grad_enabled() or known.device.type != "cpu":
            loading, ends = self.loadings(tables, known[rows], busbars)  # [L, M], [L, 2 C, M]
        else:
            loading, ends = CompiledFlow(tables, self.loadings)(known, rows, busbars)
        # loadings are learned from loadings alone: endings and choices would bend them to their use
        taken = loading.detach()
        end_logit = self.endings(tables, flat, rows, busbars, taken, ends.detach())
        highest = taken.amax(dim=0)
        beyond = (highest[:, None] - self.knots).relu()
        departures = tables.departures(busbars)
        score = beyond @ self.slopes * _STEEPNESS + departures * self.departure_slope
        return PredictedOutcomes(loading.t(), end_logit, score)

    def collapse_logits(
        self,
        flat: torch.Tensor,
        rows: torch.Tensor,
        busbars: torch.Tensor,
        loading: torch.Tensor,
        ends: torch.Tensor,
    ) -> torch.Tensor:
        """Return the logits ``[M]`` that topologies hold no state of the grid at all.

        Args:
            flat: ``[B, N]`` observations.
            rows: ``[M]`` int64, the observation of each topology.
            busbars: ``[M, E]``.
            loading: ``[L, M]`` foreseen.
            ends: ``[L, 2 C, M]`` potentials.

        Raises:
            ValueError: it was built to learn of single actions alone.
        """
        if self.collapses is None:
            raise ValueError(
                "this network has learned what single actions lead to, no plans: train one with "
                "agent.network.planned above 0, as experiment=robust does"
            )
        taken, ends = loading.detach().clamp_max(_COLLAPSED), ends.detach().clamp(-_FAR, _FAR)
        return self.collapses(self.tables, flat, rows, busbars, taken, ends)

    def choice_logits(
        self, policy_logits: torch.Tensor, outcomes: PredictedOutcomes
    ) -> torch.Tensor:
        """Return the root policy's logits ``[M]``, of ``policy_logits [M]`` and outcomes."""
        # what ends the game is learned from endings alone
        shunned = functional.softplus(outcomes.end_logit.detach()) * self.termination_penalty
        return self.prior_weight * policy_logits + outcomes.score - shunned


class _PowerFlowLayer(nn.Module):
    """A learned DC-like power flow: flows and potentials on the grid's graph.

    What lines lose depends on what flows through them, so the sources are corrected by learned
    quadratics of the first solution's flows, and the balance is struck once more.
    """

    def __init__(self, num_lines: int, num_injections: int) -> None:
        super().__init__()
        self.log_conductance = nn.Parameter(torch.randn((_CHANNELS, num_lines)) * 0.1 + 2.5)
        leaks = torch.full((_CHANNELS, num_injections + 1), -2.0)
        leaks[:, -1] = -9.0
        self.log_leak = nn.Parameter(leaks)
        injected = torch.randn((_CHANNELS, num_injections, 4)) * 0.1
        for channel in range(_CHANNELS):
            injected[channel, :, channel] += 1.0  # active power, then reactive power
        self.injected = nn.Parameter(injected)
        self.correction = nn.Parameter(torch.zeros((4, num_lines, 2 * _CHANNELS, 1)))

    @property
    def conductance(self) -> torch.Tensor:
        """``[C, L]`` of each line where it is closed."""
        return self.log_conductance.exp()

    @property
    def leak(self) -> torch.Tensor:
        """``[C, K + 1]`` at each element; the last one at every node."""
        return self.log_leak.exp() + _LEAST_LEAK

    def inject(self, injections: torch.Tensor) -> torch.Tensor:
        """Return sources ``[C, B, K]`` of ``injections [B, K, 4]``."""
        return torch.einsum("bki,cki->cbk", injections, self.injected)

    def forward(self, wiring: Wiring, sources: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return flows ``[L, C, M]`` and the potentials at both ends of lines ``[L, 2 C, M]``.

        Args:
            wiring: of M graphs.
            sources: ``[C, M, K]``.
        """
        closed = wiring.closed.t().float()[:, None]  # [L, 1, M]
        conductance = self.conductance
        balance = Potentials(wiring, conductance, self.leak)
        through = conductance.t()[:, :, None] * closed

        def flows(ends: torch.Tensor) -> torch.Tensor:
            return through * (ends[:, :_CHANNELS] - ends[:, _CHANNELS:])

        active, reactive = flows(balance(sources)).split(1, dim=1)
        terms = (active * active, reactive * reactive, active * reactive, closed)
        lost = terms[0] * self.correction[0]
        for term, factor in zip(terms[1:], self.correction[1:], strict=True):
            lost = torch.addcmul(lost, term, factor)
        ends = balance(sources, lost)
        return flows(ends), ends


class Loadings(nn.Module):
    """Reads loadings from flows and potentials, line by line.

    The balance is struck on the present topology too. There flows and loadings are known: by what
    it misses there, what it foresees is corrected.
    """

    def __init__(self, tables: GridTables, readout_size: int) -> None:
        super().__init__()
        self.balance = _PowerFlowLayer(tables.num_lines, tables.num_injections)
        num_features = 5 * _CHANNELS + 4
        linear = torch.randn((tables.num_lines, 2, num_features)) * 0.02
        for channel in range(_CHANNELS):
            linear[:, channel, channel] += 1.0  # the corrected flow itself
        self.linear = nn.Parameter(linear)
        inner = torch.randn((tables.num_lines, readout_size, num_features)) * num_features**-0.5
        self.inner = nn.Parameter(inner)
        self.outer = nn.Parameter(torch.zeros((tables.num_lines, 2, readout_size)))
        self.carried = nn.Parameter(torch.ones((tables.num_lines, 1)))

    @staticmethod
    def known_size(tables: GridTables) -> int:
        """Return W, how many numbers ``observe`` finds."""
        return _CHANNELS * tables.num_injections + (3 * _CHANNELS + 2) * tables.num_lines

    def observe(self, tables: GridTables, observations: torch.Tensor) -> torch.Tensor:
        """Return ``[B, W]`` what is known of ``observations [B, N]``.

        Of each observation: its sources on the forecast ``[C, K]``, of each line what the balance
        misses of its flows, gives, the flows that are measured, and its loading ``[L, 3 C + 1]``,
        and what reading the present loadings misses ``[L]``.
        """
        now, soon = (
            self.balance.inject(tables.injections(observations, forecast=forecast))
            for forecast in (False, True)
        )
        wiring = tables.wiring(tables.busbars(observations))
        before, ends = self.balance(wiring, now)
        p_or, q_or, rho = (
            tables.block(observations, (name,)).t() for name in ("p_or", "q_or", "rho")
        )
        measured = torch.stack([p_or, q_or], dim=1)  # [L, 2, B]
        known = torch.cat([measured - before, before, measured, rho[:, None]], dim=1)
        missed = rho - self._read(wiring, before, ends, known)
        parts = soon.permute(1, 0, 2), known.permute(2, 0, 1), missed.t()
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def forward(
        self, tables: GridTables, known: torch.Tensor, busbars: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return loadings ``[L, M]`` and the potentials at both ends of lines ``[L, 2 C, M]``.

        Args:
            tables: of the grid.
            known: ``[M, W]``, by ``observe``.
            busbars: ``[M, E]`` that are foreseen.
        """
        shapes = (
            (_CHANNELS, tables.num_injections),
            (tables.num_lines, 3 * _CHANNELS + 1),
            (tables.num_lines, 1),
        )
        sources, features, missed = (
            part.unflatten(1, shape)
            for part, shape in zip(
                known.split([math.prod(shape) for shape in shapes], dim=1), shapes, strict=True
            )
        )
        wiring = tables.wiring(busbars)
        flow, ends = self.balance(wiring, sources.transpose(0, 1))
        loading = self._read(wiring, flow, ends, features.permute(1, 2, 0))
        loading = loading + self.carried * missed[..., 0].t()
        return loading.relu() * wiring.closed.t(), ends

    def _read(
        self, wiring: Wiring, flow: torch.Tensor, ends: torch.Tensor, known: torch.Tensor
    ) -> torch.Tensor:
        """Return loadings ``[L, M]`` of flows ``[L, C, M]``, potentials and what is known."""
        constant = torch.ones_like(known[:, :1])
        features = torch.cat(
            [flow + known[:, :_CHANNELS], flow, ends, known[:, _CHANNELS:], constant], dim=1
        )
        inner = torch.bmm(self.inner, features).relu()
        current = torch.baddbmm(torch.bmm(self.outer, inner), self.linear, features)
        return (current.square().sum(dim=1) + 1e-4).sqrt() * wiring.closed.t()


class Endings(nn.Module):
    """Tells whether the game would end: mostly because lines trip and the rest is overloaded."""

    def __init__(self, tables: GridTables, observation_size: int, size: int) -> None:
        super().__init__()
        num_ends = len(tables.substation)
        self.foreseen = nn.Linear((2 + 2 * _CHANNELS) * tables.num_lines + num_ends, size)
        self.observed = nn.Linear(observation_size, size, bias=False)
        self.outer = nn.Linear(size, 1)

    def forward(
        self,
        tables: GridTables,
        observations: torch.Tensor,
        rows: torch.Tensor,
        busbars: torch.Tensor,
        loading: torch.Tensor,
        ends: torch.Tensor,
    ) -> torch.Tensor:
        """Return logits ``[M]`` of what ``Loadings`` foresees after each row's action."""
        # a line is cut off after some steps in a row above its limit
        overflow = tables.block(observations, ("overflow_steps",)).clamp_max(1.5)
        strain = ((loading - 1.0) * _STRAIN).tanh() * overflow.t().index_select(1, rows)
        side = torch.where(busbars > 0, 3 - 2 * busbars, 0).t().float()
        foreseen = torch.cat([loading, strain, ends.flatten(0, 1) * 0.3, side])  # [.., M]
        inner = self.foreseen.weight @ foreseen + self.foreseen.bias[:, None]
        inner = inner + self.observed(observations).t().index_select(1, rows)
        return (self.outer.weight @ inner.relu() + self.outer.bias[:, None]).squeeze(0)
