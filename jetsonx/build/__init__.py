"""Plan a build, then run it."""
