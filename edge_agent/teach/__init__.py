"""Teaching by example: a small head on the features of a network that stays as it is. In reading order:

- `examples`: what the owner has shown, bounded and without repetitions. `store` keeps it on disk.
- `moments`: exact sums over examples, which add up in whatever order.
- `head`: answers for a feature; `unknown` is when it says that it does not know.
- `gram`, `regression`, `trial`: the arithmetic of fitting; `fitting` puts it together, in slices.
- `report`: how good it is, and what is missing. `ask`: which frames the owner should look at.
- `head_file`: a head on disk. `merge` joins those of several cameras.
- `lessons`: one view's store and head together: teach, remove, undo, fit, revert, relearn. Begin there.

A feature is what the last layer of the network takes in: 1-D, FP16, some hundred numbers. All of it is
arithmetic of numpy without a gradient through the network. Given the same examples, in whatever order they
came, a head is the same to the last bit on the same machine.
"""
