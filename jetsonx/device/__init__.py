"""Devices: what answers at an SSH address, judged for running images, and the names that the user gave them."""
