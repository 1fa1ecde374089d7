"""What a reader gets: the page of a profile, the pages of runs and comparisons, Markdown, LaTeX, CSV and JSON."""
