"""The target's headers and libraries: asked for, made from a source, and found again."""
