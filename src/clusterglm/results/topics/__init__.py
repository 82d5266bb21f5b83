"""What results offer, one class a topic."""
