"""Ground truths: one file for each way in which people write one down; see `ground_truth`."""
