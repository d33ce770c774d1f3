"""TOML reading: the standard library's parser, or its back-port on Python 3.10."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from tomllib import TOMLDecodeError
    from tomllib import loads as load_toml
else:
    from tomli import TOMLDecodeError
    from tomli import loads as load_toml

__all__ = ["TOMLDecodeError", "load_toml"]
