"""Scripts that make data which is shipped; not part of the package."""
