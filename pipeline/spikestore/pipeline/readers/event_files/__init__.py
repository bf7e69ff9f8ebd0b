"""N-MNIST and DVSGesture: one file per recording."""
