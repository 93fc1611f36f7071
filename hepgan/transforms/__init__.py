"""Physical units to network units and back, as modules that travel inside the exported graph."""
