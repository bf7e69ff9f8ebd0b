"""Augmentations for training, which change a packed batch on its device.

Each augmentation is a callable from (SparseBatch, epoch) to SparseBatch, for the loader's ``augment``. Random numbers of a
sample depend only on the seed, the epoch and the sample's row: not on its position in a batch, the batch size, ranks,
threads or the device. So a run that resumes within an epoch gets the same samples. The result of an augmentation that
mixes samples also depends on the batch, because the samples to mix are drawn from the batch.

Events that leave their sample's frames are dropped; counts that move to the same place are added. Two augmentations of
the same type with the same seed draw the same numbers.
"""
