"""Trains the whole network for one camera. In reading order:

- `dataset`: labelled pictures of a folder or a table; `bursts` groups those of one go, and splits by them.
- `likeness`: a small fingerprint of a picture; `check` finds what is wrong with a set.
- `pictures`: every picture once, small, in one file, and varied as a fixed camera would see it.
- `network`: the network to train, and what of it learns; `recompute` spends time to save memory,
  and `stem` is that for the first layers of a ResNet.
- `loop`: one training, which goes on where it was stopped or killed; `judge` says how good it is.
- `workers`: the processes that train one network together.
- `probe`: what a step takes, measured in fresh processes; `budget` makes a plan of that, and holds it.
- `train`: all of it, from the set to the model.
"""
