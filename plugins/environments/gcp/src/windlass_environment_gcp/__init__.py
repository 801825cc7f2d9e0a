"""Credentials of a Google Cloud project."""
