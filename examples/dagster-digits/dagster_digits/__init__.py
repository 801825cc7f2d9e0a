"""Digits, orchestrated by Dagster."""
