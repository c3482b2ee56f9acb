"""What an edit did inside a model (survey, section 5): weights, value vectors, where facts sit.

`record` and `plots` need no torch; `analyse` does, and is imported when it is asked for.
"""
