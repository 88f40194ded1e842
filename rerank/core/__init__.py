"""The ground floor: errors, processes, memory, arrays and the similarity that everything reads."""
