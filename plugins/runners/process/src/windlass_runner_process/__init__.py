"""Run jobs as supervised processes on this machine."""
