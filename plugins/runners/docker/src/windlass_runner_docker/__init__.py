"""Run jobs as containers of a Docker engine."""
