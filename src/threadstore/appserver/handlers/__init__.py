"""The methods, grouped by what they do; each module registers its own."""
