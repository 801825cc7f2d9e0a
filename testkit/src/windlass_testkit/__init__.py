"""Contract suites and fakes for Windlass plugins."""
