"""Many models times many targets, a convert each, on local processes or on a Dask cluster."""

from edgekit._sweep.read_sweep import SweepWords as SweepWords
from edgekit._sweep.run_sweep import run_sweep as run_sweep
