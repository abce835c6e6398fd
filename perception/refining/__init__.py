"""Training of refiners: a detector's own boxes, what the cameras see of them, and what they really are."""
