"""The Windlass agent: claims queue items, builds, submits, watches and reports."""
