"""What a person meets: recipes, clusters, signals, screens and the command line."""
