"""All checks that need a GPU, with one command: ``python3 -m benchmarks.gpu``. The modules of this package import no other package."""
