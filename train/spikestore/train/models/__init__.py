"""Models: networks, and the backends that compute their neurons."""
