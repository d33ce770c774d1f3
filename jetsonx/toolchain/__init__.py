"""Nvcc and the host compiler: found or fetched, and made to see only the sysroot."""
