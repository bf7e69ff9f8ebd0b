"""Networks and the backends that run their neurons."""
