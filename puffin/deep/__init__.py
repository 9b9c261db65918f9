"""The deep learning part of the tutorial: `puffin.deep.rnn` and `puffin.deep.training`."""
