"""Facts of each L4T line and distribution suite, shipped in the wheel."""
