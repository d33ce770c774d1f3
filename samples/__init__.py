"""Small real projects, shipped in the wheel for `jetsonx init --sample`."""
