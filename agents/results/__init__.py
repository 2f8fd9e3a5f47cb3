"""What evaluations find: records, the protocol they were found by, figures, files, tables.

- ``records``: one record per episode, one per agent.
- ``protocol``: what must be the same for two results to be compared, and its hash.
- ``statistics``: means with bootstrap intervals.
- ``files``: JSON, read back strictly, and CSV.
- ``tables``, ``pairs``: tables for people; differences paired by scenario.
"""

from agents.results.files import SCHEMA_VERSION
from agents.results.files import read_results
from agents.results.files import write_results
from agents.results.pairs import compare_results
from agents.results.pairs import to_markdown
from agents.results.protocol import Protocol
from agents.results.protocol import Setting
from agents.results.protocol import describe_protocol
from agents.results.protocol import explain_difference
from agents.results.records import Conditions
from agents.results.records import EpisodeRecord
from agents.results.records import EvaluationResult
from agents.results.records import Incident
from agents.results.records import Latency
from agents.results.statistics import METRICS
from agents.results.statistics import Estimate
from agents.results.statistics import Metric
from agents.results.statistics import estimate
from agents.results.statistics import log_metrics
from agents.results.statistics import summarize
from agents.results.tables import format_table

__all__ = [
    "METRICS",
    "SCHEMA_VERSION",
    "Conditions",
    "EpisodeRecord",
    "Estimate",
    "EvaluationResult",
    "Incident",
    "Latency",
    "Metric",
    "Protocol",
    "Setting",
    "compare_results",
    "describe_protocol",
    "estimate",
    "explain_difference",
    "format_table",
    "log_metrics",
    "read_results",
    "summarize",
    "to_markdown",
    "write_results",
]
