"""How the student that ships was made: its optimizer, what it learns to see first, pretraining, and what is measured of it."""
