"""All checks that need a GPU, with one command: ``python3 -m benchmarks.gpu``.

The modules ``__main__``, ``kit``, ``page`` and ``parts`` import only the standard library.
"""
