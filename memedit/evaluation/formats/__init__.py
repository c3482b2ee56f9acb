"""Files that cases are read from: one module per format."""
