"""Profiling: a bundle's artifacts run and measured on a device, and the JSON that keeps it."""

from edgekit._device_tool import LayerTime
from edgekit._profile.judge import budget_figures, compare_variants, find_measurement, judge_profile
from edgekit._profile.keep import ProfileResult, ProfileWords, profile_and_keep
from edgekit._profile.measurements import (
    find_profiles,
    load_profile,
    profile_json,
    profiles_folder,
    save_profile,
)
from edgekit._profile.profile_bundle import profile_bundle
from edgekit._profile.values import ArtifactProfile, Profile, ProfileOptions, Trace
from edgekit._values import Placement

__all__ = [
    "ArtifactProfile",
    "LayerTime",
    "Placement",
    "Profile",
    "ProfileOptions",
    "ProfileResult",
    "ProfileWords",
    "Trace",
    "budget_figures",
    "compare_variants",
    "find_measurement",
    "find_profiles",
    "judge_profile",
    "load_profile",
    "profile_and_keep",
    "profile_bundle",
    "profile_json",
    "profiles_folder",
    "save_profile",
]
