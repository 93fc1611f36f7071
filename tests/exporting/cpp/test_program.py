"""Places of buffers in working memory and among the weights."""

from __future__ import annotations

import numpy as np

from hepgan.exporting.cpp.memory import Memory
from hepgan.exporting.cpp.program import Step, arrange


def test_memory_is_used_again_but_never_twice_at_once() -> None:
    rng = np.random.default_rng(4)
    memory = Memory()
    source = memory.new("condition", 2, "condition")
    live, steps = [source], []
    for k in range(60):
        target = memory.new(f"b{k}", int(rng.integers(1, 100)), "memory")
        reads = {live[j].number for j in rng.integers(len(live), size=2)}
        steps.append(Step("m", "", [], reads, {target.number}))
        live = [*live, target][-6:]
    program = arrange(steps, memory, width=1)
    spans = {}
    for number, place in program.places.items():
        times = [k for k, step in enumerate(steps) if number in step.reads | step.writes]
        if place.base == "memory":
            assert place.offset % 16 == 0, "begins with a line of the cache"
            spans[number] = (place.offset, place.offset + memory.buffers[number].size, times[0], times[-1])
    for a in spans:
        for b in spans:
            if a < b:
                (low, high, first, last), (other_low, other_high, other_first, other_last) = (
                    spans[a],
                    spans[b],
                )
                together = first <= other_last and other_first <= last
                assert not together or high <= other_low or other_high <= low
    sizes = sum(memory.buffers[number].size for number in spans)
    assert max(high for _, high, _, _ in spans.values()) <= program.memory < sizes / 2
    assert program.places[source.number] == ("condition", "condition", 0, "")
