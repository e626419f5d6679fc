"""Verification: metrics, gate, golden data and the proof of one artifact."""

from edgekit._verify.artifact import (
    Streamed,
    compare_fp32,
    open_and_verify,
    unproven,
    verify_artifact,
    verify_samples,
    with_others,
)
from edgekit._verify.gate import LIMITS, Gate, check_fp32, gate_for, load_gates
from edgekit._verify.golden import (
    DEFAULT_GOLDEN,
    Expected,
    Golden,
    GoldenSample,
    make_golden,
    random_feeds,
)
from edgekit._verify.metrics import OutputComparison, edit_distance, worst_sqnr_db
from edgekit._verify.pieces import PiecewiseSession
from edgekit._verify.remembered import RememberedSession, resume
from edgekit._verify.scores import find_scores
from edgekit._verify.sessions import WHOLE_BYTES, OrtSession, float_session, reference_session
from edgekit._verify.teacher_forced import (
    Decoder,
    ForcedSequence,
    find_decoder,
    fits,
    make_sequence,
    prove_steps,
)
from edgekit._verify.worst import WorstTensor, with_taps, with_worst, worst_tensors

__all__ = [
    "DEFAULT_GOLDEN",
    "LIMITS",
    "WHOLE_BYTES",
    "Decoder",
    "Expected",
    "ForcedSequence",
    "Gate",
    "Golden",
    "GoldenSample",
    "OrtSession",
    "OutputComparison",
    "PiecewiseSession",
    "RememberedSession",
    "Streamed",
    "WorstTensor",
    "check_fp32",
    "compare_fp32",
    "edit_distance",
    "find_decoder",
    "find_scores",
    "fits",
    "float_session",
    "gate_for",
    "load_gates",
    "make_golden",
    "make_sequence",
    "open_and_verify",
    "prove_steps",
    "random_feeds",
    "reference_session",
    "resume",
    "unproven",
    "verify_artifact",
    "verify_samples",
    "with_others",
    "with_taps",
    "with_worst",
    "worst_sqnr_db",
    "worst_tensors",
]
