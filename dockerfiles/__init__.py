"""The templates that Dockerfiles are rendered from, and the images they start from; shipped in the wheel."""
