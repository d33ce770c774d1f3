"""What is inside the ELF files, and whether the target can run it."""
