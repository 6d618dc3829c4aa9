"""Which benchmarks there are, what of them lies under a folder, and how the rest gets there."""
