"""The trust boundary: checks of every document and column of a store before they are used.

Anybody with write access to a store may write any content with correct hashes, so a correct hash is not sufficient. `documents`
checks that documents are valid, belong to their path, and agree with each other; `rows` checks rows against the format and the
manifest; `fragments` decodes whole fragments, and recomputes the numbers that their documents state, except the counts of events.
Reading, streaming, copies, ``verify`` and ``repair`` use the same checks (docs/guarantees.md).
"""
