"""The Windlass server: the metadata and blob API over HTTP."""
