"""The communication between federates: what is said, when it arrives, and whether it does."""
