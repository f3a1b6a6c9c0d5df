"""What a person looks at: films, dreams, plots."""
