"""Planning: a Search grows B trees in a Model.

base    the interfaces Model and Search, and their records
tree    flat trees and the compiled loops that every search shares
puct    MuZero's search, as in the specification
gumbel  Gumbel MuZero's search
"""

from agents.muzero.search.base import Model
from agents.muzero.search.base import ModelOutput
from agents.muzero.search.base import Search
from agents.muzero.search.base import SearchResult
from agents.muzero.search.base import TreeStatistics
from agents.muzero.search.gumbel import GumbelSearch
from agents.muzero.search.puct import PUCTSearch

__all__ = [
    "GumbelSearch",
    "Model",
    "ModelOutput",
    "PUCTSearch",
    "Search",
    "SearchResult",
    "TreeStatistics",
]
