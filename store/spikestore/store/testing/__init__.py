"""A test kit for whoever writes operations, readers or stores of their own. Needs hypothesis; nothing else imports it."""
