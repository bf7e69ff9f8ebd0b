"""Demo data: artificial recordings in the file layout of Spiking Speech Commands."""
