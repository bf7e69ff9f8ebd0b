"""Reports on feature sets: facts about their samples, and a page that shows them."""
