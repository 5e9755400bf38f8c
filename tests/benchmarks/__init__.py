"""Timings of the kernels and figures on exact geometry: ``python -m tests.benchmarks.bench_<name>``."""
