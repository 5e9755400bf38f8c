"""How the benchmarks measure and print."""

import os
import time


def best_of(function, n=5):
    """Shortest of n runs after one to warm up, in seconds, and the last result."""
    result = function()
    shortest = float("inf")
    for _ in range(n):
        start = time.perf_counter()
        result = function()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest, result


def print_table(title, rows):
    """Rows of (name, seconds); the first is ours and the others are compared with it."""
    print(f"\n{title} ({len(os.sched_getaffinity(0))} cores)")
    ours = rows[0][1]
    for name, seconds in rows:
        ratio = "" if seconds == ours else f"{seconds / ours:6.1f} x"
        print(f"  {name:<44} {seconds * 1000:9.1f} ms {ratio}")
    if len(rows) > 1:
        print(f"  best of the others / ours: {min(s for _, s in rows[1:]) / ours:.1f}")
