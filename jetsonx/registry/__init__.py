"""Container registries: the OCI distribution protocol, as a reader."""

from __future__ import annotations

from jetsonx.registry.client import Registry
from jetsonx.registry.credentials import Credentials, load_credentials
from jetsonx.registry.manifest import Blob, ImageManifest
from jetsonx.registry.reference import Reference, parse_reference

__all__ = ["Blob", "Credentials", "ImageManifest", "Reference", "Registry", "load_credentials", "parse_reference"]
