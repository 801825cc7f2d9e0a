"""Plain data as strict JSON: what is read back equals what was written."""
