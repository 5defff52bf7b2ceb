"""Trains the whole network for one camera. In reading order:

- `dataset`: labelled pictures of a folder or a table; `bursts` groups those of one go, and splits by them.
- `likeness`: a small fingerprint of a picture; `check` finds what is wrong with a set.
"""
