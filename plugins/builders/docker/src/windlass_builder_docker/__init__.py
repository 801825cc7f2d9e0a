"""Build images with a Docker engine, through BuildKit where it is offered."""
