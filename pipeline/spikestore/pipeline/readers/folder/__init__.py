"""The data set ``folder``: a folder with one file per recording, whose labels, splits and columns the recipe describes."""
