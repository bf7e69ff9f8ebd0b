"""Augmentations for training. They change the packed batch on its device; random numbers depend on sample and epoch.

Each augmentation is a callable from (SparseBatch, epoch) to SparseBatch, for the loader's ``augment``. Random numbers of a
sample depend only on the seed, the epoch and the sample's row: not on its position in a batch, the batch size, ranks,
threads or the device. So a run that resumes within an epoch gets the same samples. Augmentations that mix samples also depend
on the batch, because they draw partners from it.

Events that leave their sample's frames are dropped; counts that move to the same place are added up. Two augmentations of the same type
with the same seed draw the same numbers.
"""
