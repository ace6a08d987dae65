"""The library of CPU kernels: finding it, its C interface, and how many threads it may use.

Operations take it from here: `kernels/moe/cpu.py` is the experts. Where there is no library, torch
operations do the work, and `why_not` says what to do about it.
"""

from ossia.kernels.cpu.kernel_library import KernelLibrary, load, why_not
from ossia.kernels.cpu.pages import in_large_pages, page_out, read_ahead
from ossia.kernels.cpu.threads import allowed_cpus, num_threads

__all__ = [
    "KernelLibrary",
    "allowed_cpus",
    "in_large_pages",
    "load",
    "num_threads",
    "page_out",
    "read_ahead",
    "why_not",
]
