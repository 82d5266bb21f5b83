"""Results as text, frames, and tables for papers, alone and side by side."""
