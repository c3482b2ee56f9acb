"""In-context methods, one file each."""
