"""MuZero's networks and the codecs of their scalar heads."""

from agents.muzero.networks.base import MuZeroNetwork
from agents.muzero.networks.base import NetworkOutput
from agents.muzero.networks.base import StateActionLinear
from agents.muzero.networks.base import Transition
from agents.muzero.networks.base import Unrolled
from agents.muzero.networks.base import min_max_normalize
from agents.muzero.networks.heads import CategoricalCodec
from agents.muzero.networks.heads import Codec
from agents.muzero.networks.heads import ScalarCodec
from agents.muzero.networks.heads import inverse_transform_value
from agents.muzero.networks.heads import transform_value
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
