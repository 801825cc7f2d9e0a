"""Metadata in SQLite or PostgreSQL."""
