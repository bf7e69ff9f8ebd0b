"""The trust boundary: every document and every column of a store passes through here before anything relies on it.

Whoever may write to a store may write anything into it, sealed and hashed as it should be. So nothing is believed
because it hashes right: `documents` lets through what fits its model, its place and the documents that vouch for it,
`rows` what the format allows and the manifest says, `fragments` whole fragments whose every number was computed again.
The same code serves reading, streaming, copies, verify and repair (docs/guarantees.md).
"""
