"""Wire formats, one file each: where in a body the asked text stands, how errors look."""
