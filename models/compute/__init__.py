"""Compute on this machine: device, number format, dense layers, compiled kernels, processes."""
