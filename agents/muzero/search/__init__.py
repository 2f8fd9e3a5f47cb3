"""Tree search: a ``Search`` plans for B roots in a ``Model``.

- ``base``: the interfaces Model, ChanceModel and Search, and their records.
- ``puct``: MuZero's search, as in the specification; ``gumbel``: Gumbel MuZero's.
- ``tree``: flat trees and the compiled loops that every search shares; ``batched_trees``: the trees
  grown together, one model call per simulation.
- ``chance``: chance nodes: afterstates, their outcomes and values.
- ``noise``: random numbers, of one generator or of one per row.
- ``checks``: what arguments and models must be.
- ``record``: one finished search written down: its tree, candidates and figures, as JSON.
- ``drawing``: such a record as SVG.
"""

from agents.muzero.search.base import (
    Afterstates,
    ChanceModel,
    Model,
    ModelOutput,
    Search,
    SearchResult,
    TreeStatistics,
)
from agents.muzero.search.gumbel import GumbelSearch
from agents.muzero.search.puct import PUCTSearch
from agents.muzero.search.record import (
    CandidateRecord,
    NodeRecord,
    OutcomeRecord,
    TreeRecord,
    TreeSummary,
    record_tree,
)

__all__ = [
    "Afterstates",
    "CandidateRecord",
    "ChanceModel",
    "GumbelSearch",
    "Model",
    "ModelOutput",
    "NodeRecord",
    "OutcomeRecord",
    "PUCTSearch",
    "Search",
    "SearchResult",
    "TreeRecord",
    "TreeStatistics",
    "TreeSummary",
    "record_tree",
]
