"""N-MNIST and DVSGesture: a file a recording."""
