"""Packages, wheels and archives for the target: resolved, fetched, unpacked without their scripts."""
