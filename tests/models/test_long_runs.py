"""Memory that was freed leaves the process."""

import sys

import psutil
import pytest
import torch

from qlearn.models.long_runs import free_memory


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_freed_tensors_leave_the_resident_memory():
    process = psutil.Process()
    tensors = [
        torch.ones(16_000) for _ in range(4000)
    ]  # 64 kB each: the heap, not pages of its own
    held = process.memory_info().rss
    del tensors
    free_memory()
    assert held - process.memory_info().rss > 150e6
