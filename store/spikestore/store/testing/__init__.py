"""Test strategies for authors of operations, readers or stores; needs Hypothesis, and nothing else imports it."""
