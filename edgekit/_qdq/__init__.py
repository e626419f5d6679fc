"""Scales become Q/DQ pairs in the graph: where they go is data (placement.toml), how is insert.py."""

from edgekit._qdq.correct_bias import insert_corrected_qdq as insert_corrected_qdq
from edgekit._qdq.correct_bias import pick_feeds as pick_feeds
from edgekit._qdq.equalize import equalize_channels as equalize_channels
from edgekit._qdq.equalize import lift_component as lift_component
from edgekit._qdq.equalize import list_equalized as list_equalized
from edgekit._qdq.front_end import find_front_end as find_front_end
from edgekit._qdq.insert import QdqResult as QdqResult
from edgekit._qdq.insert import insert_qdq as insert_qdq
from edgekit._qdq.islands import list_candidates as list_candidates
from edgekit._qdq.mean_errors import FloatMeans as FloatMeans
from edgekit._qdq.mean_errors import measure_means as measure_means
from edgekit._qdq.parameters import QdqForm as QdqForm
from edgekit._qdq.parameters import round_activation as round_activation
from edgekit._qdq.quantize_all import ALL as ALL
from edgekit._qdq.quantize_weights import INT4_OPSET as INT4_OPSET
from edgekit._qdq.quantize_weights import WeightsResult as WeightsResult
from edgekit._qdq.quantize_weights import quantize_weights as quantize_weights
from edgekit._qdq.round_layers import LayerRoundings as LayerRoundings
from edgekit._qdq.round_layers import RoundedLayer as RoundedLayer
from edgekit._qdq.round_layers import round_layers as round_layers
from edgekit._qdq.steering import Decision as Decision
from edgekit._qdq.steering import Mix as Mix
from edgekit._qdq.steering import Steering as Steering
from edgekit._qdq.steering import Widening as Widening
from edgekit._qdq.steering import steer as steer
from edgekit._qdq.weight_rounder import WeightRounder as WeightRounder
