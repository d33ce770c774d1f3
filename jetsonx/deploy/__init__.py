"""Brings a built image to devices: transfer, switch, rollback."""
