"""One room a toolchain; each comes in through the entry-point group `edgekit.targets`."""
