"""A multi-stage Dockerfile of a project, rendered from the templates in ``dockerfiles/``."""

from jetsonx.dockerfile.images import load_toolchain_images
from jetsonx.dockerfile.machine import JETSON, WORKSTATION, Machine
from jetsonx.dockerfile.plan import Dockerfile, Strategy, find_toolchain, plan_dockerfile
from jetsonx.dockerfile.render import render_dockerfile

__all__ = [
    "JETSON",
    "WORKSTATION",
    "Dockerfile",
    "Machine",
    "Strategy",
    "find_toolchain",
    "load_toolchain_images",
    "plan_dockerfile",
    "render_dockerfile",
]
