"""Demo data: artificial recordings in the layout of Spiking Speech Commands."""
