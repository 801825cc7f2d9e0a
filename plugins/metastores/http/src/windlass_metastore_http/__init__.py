"""Metadata and blobs of a Windlass server over HTTP."""
