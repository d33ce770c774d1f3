"""The network: HTTP with mirrors, retries and resumable downloads."""
