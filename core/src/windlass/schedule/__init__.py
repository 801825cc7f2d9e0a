"""Triggers, cron expressions, budgets and forecasts: what metadata stores have in common."""
