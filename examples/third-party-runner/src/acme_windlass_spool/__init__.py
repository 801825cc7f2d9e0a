"""A runner over a spool directory."""
