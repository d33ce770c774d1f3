"""Whole root file systems: layers of images, devices, tarballs and directories, read and put over one another."""
