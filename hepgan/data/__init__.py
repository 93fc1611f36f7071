"""ROOT files to arrays of showers or tracks."""
