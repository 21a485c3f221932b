"""What a trained run is used for: pictures and strokes are made into what it knows, and it says what they are.

The core imports nothing of this.
"""
