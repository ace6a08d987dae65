"""CUDA C++ at run time: sources to machine code by NVRTC, kept on disk, launched through the driver.

Needs no compiler and no CUDA toolkit: libnvrtc comes with torch's CUDA wheels, libcuda with the
graphics driver. Nothing here is linked to torch, so no version of it is special.
"""

from ossia.kernels.cuda.launch import Kernel, launch
from ossia.kernels.cuda.nvrtc import find_nvrtc
from ossia.kernels.cuda.program import Program, why_not

__all__ = ["Kernel", "Program", "find_nvrtc", "launch", "why_not"]
