"""What pictures are made of: colours, strokes, lettering, a camera tile and a bird's-eye panel."""
