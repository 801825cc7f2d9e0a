"""Never build: run prebuilt images only."""
