"""Sub-commands that train and evaluate. A sub-command imports large packages only when it runs."""
