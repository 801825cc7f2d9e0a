"""The nouns of Windlass as frozen values. They cross every boundary: wire, database, plugin."""
