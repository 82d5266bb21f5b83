"""What is wrong with a fit, and which rows and clusters matter."""
