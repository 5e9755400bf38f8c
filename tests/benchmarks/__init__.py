"""Timings of the kernels, and stages on exact geometry: ``bin/bench [name...]``."""
