"""What belongs to this course alone: its chapters, claims, notebooks and capstone."""
