"""jetsonx: build CUDA software for any NVIDIA Jetson on an x86-64 workstation."""

__version__ = "0.1.0"
