"""Planning: a Search grows B trees in a Model.

base    the interfaces Model and Search, and their records
tree    flat trees and the compiled loops that every search shares
forest  the trees grown together, one model call per simulation
checks  what arguments and models must be
puct    MuZero's search, as in the specification
gumbel  Gumbel MuZero's search
record  one finished search written down: its tree, candidates and figures, as JSON
drawing its picture, as SVG; lettering fits the words
"""

from agents.muzero.search.base import Model
from agents.muzero.search.base import ModelOutput
from agents.muzero.search.base import Search
from agents.muzero.search.base import SearchResult
from agents.muzero.search.base import TreeStatistics
from agents.muzero.search.drawing import Pruning
from agents.muzero.search.drawing import to_svg
from agents.muzero.search.gumbel import GumbelSearch
from agents.muzero.search.puct import PUCTSearch
from agents.muzero.search.record import CandidateRecord
from agents.muzero.search.record import NodeRecord
from agents.muzero.search.record import TreeRecord
from agents.muzero.search.record import TreeSummary
from agents.muzero.search.record import record_tree

__all__ = [
    "CandidateRecord",
    "GumbelSearch",
    "Model",
    "ModelOutput",
    "NodeRecord",
    "PUCTSearch",
    "Pruning",
    "Search",
    "SearchResult",
    "TreeRecord",
    "TreeStatistics",
    "TreeSummary",
    "record_tree",
    "to_svg",
]
