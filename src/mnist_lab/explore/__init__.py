"""What a trained run is used for: it says what pictures and strokes are, and becomes a file for other software."""
