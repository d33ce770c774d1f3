"""Docker and what stands for it: finding the engine, calls to buildx, BuildKit's progress, images and builder nodes."""
