"""Trees of files with their facts, out of whatever people ship: directories, packages, images."""
