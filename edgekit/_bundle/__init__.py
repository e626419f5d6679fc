"""Bundles: written in one rename, sealed, opened with every byte checked, proven again anywhere."""

from edgekit._bundle.draft import BundleDraft, ComponentDraft
from edgekit._bundle.host_figures import accuracy_loss, host_figures, loaded_size
from edgekit._bundle.limits import Limits
from edgekit._bundle.manifest import parity_json
from edgekit._bundle.names import MANIFEST
from edgekit._bundle.npy import read_npy
from edgekit._bundle.place import check_place
from edgekit._bundle.read import Bundle, open_bundle
from edgekit._bundle.results import read_artifacts, read_gaps, read_parities
from edgekit._bundle.schema import check_schema, load_schema
from edgekit._bundle.share_weights import share_weights
from edgekit._bundle.staging import write_whole
from edgekit._bundle.verify import NO_ACCURACY, BundleProof, prove_bundle, verify_bundle
from edgekit._bundle.write import copy_bundle, write_archive, write_bundle

__all__ = [
    "MANIFEST",
    "NO_ACCURACY",
    "Bundle",
    "BundleDraft",
    "BundleProof",
    "ComponentDraft",
    "Limits",
    "accuracy_loss",
    "check_place",
    "check_schema",
    "copy_bundle",
    "host_figures",
    "load_schema",
    "loaded_size",
    "open_bundle",
    "parity_json",
    "prove_bundle",
    "read_artifacts",
    "read_gaps",
    "read_npy",
    "read_parities",
    "share_weights",
    "verify_bundle",
    "write_archive",
    "write_bundle",
    "write_whole",
]
