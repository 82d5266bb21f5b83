"""What a fit gives back: frozen results, and how they print."""
