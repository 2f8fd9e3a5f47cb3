"""MuZero's networks and the codecs of their scalar heads.

- ``base``: ``MuZeroNetwork``, and layers that several networks share.
- ``mlp``: the specification's network; ``mlp_step``: its fast step for searches.
- ``residual``: pre-norm residual blocks, categorical heads.
- ``heads``: codecs between a head's output and a scalar.
"""

from agents.muzero.networks.base import (
    MuZeroNetwork,
    NetworkOutput,
    StateActionLinear,
    Transition,
    Unrolled,
    min_max_normalize,
)
from agents.muzero.networks.heads import (
    CategoricalCodec,
    Codec,
    ScalarCodec,
    inverse_transform_value,
    transform_value,
)
from agents.muzero.networks.mlp import MLPNetwork
from agents.muzero.networks.residual import ResidualNetwork

__all__ = [
    "CategoricalCodec",
    "Codec",
    "MLPNetwork",
    "MuZeroNetwork",
    "NetworkOutput",
    "ResidualNetwork",
    "ScalarCodec",
    "StateActionLinear",
    "Transition",
    "Unrolled",
    "inverse_transform_value",
    "min_max_normalize",
    "transform_value",
]
