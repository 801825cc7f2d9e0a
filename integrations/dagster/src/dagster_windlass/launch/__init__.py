"""Ops and assets that launch work on Windlass queues."""
